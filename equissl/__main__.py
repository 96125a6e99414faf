"""``python -m equissl``."""

import sys

from equissl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
