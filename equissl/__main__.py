"""``python -m equissl``."""

import sys

from equissl.cli.main import main

sys.exit(main())
