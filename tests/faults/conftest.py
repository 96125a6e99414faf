"""The attacks are run by ``run.py`` and ``test_quick.py``; pytest collects no doctests from them."""

from pathlib import Path

collect_ignore = [
    "attacks",
    *(p.name for p in Path(__file__).parent.glob("*.py") if not p.name.startswith(("test_", "conftest"))),
]
