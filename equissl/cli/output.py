"""What the command line prints: no control characters of file names or messages reach the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from equissl.text import printable


class PrintableStream:
    """A text stream that writes control characters as escapes (``equissl.text.printable``).

    Rich, which colours and moves the cursor itself, writes to the stream behind it.
    """

    def __init__(self, stream: TextIO):
        self.rich_proxied_file = stream  # where rich looks for it

    def write(self, text: str) -> int:
        self.rich_proxied_file.write(printable(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


@contextmanager
def printable_streams() -> Iterator[None]:
    """``sys.stdout`` and ``sys.stderr`` as ``PrintableStream``."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (PrintableStream(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
