"""``equissl check``."""

from __future__ import annotations

from equissl.cli.arguments import Given
from equissl.data.check import lines, summarise
from equissl.progress import Display


def run(given: Given) -> None:
    """Counts, sizes, unreadable files, labels, duplicates, and how fast the folder can be read."""
    given.check()
    with Display() as display:
        summary = summarise(given.things[0], progress=display)
    print("\n".join(lines(summary)))
