"""Streams of the command line that accept any text, whatever the terminal, the locale or a pipe can show."""

from __future__ import annotations

import codecs
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ERRORS = "equissl_terminal"
_PACKAGE = Path(__file__).parents[1]
_PLAIN = {"²": "2", "±": "~", "·": "-", "…": "~"}  # of our tables, in as many columns


def prepare_streams() -> None:
    """Let ``sys.stdout`` and ``sys.stderr`` write what they cannot encode: R² as R2, names with escapes.

    A closed one is replaced by the null device, which also keeps files from getting its descriptor.
    """
    codecs.register_error(_ERRORS, _escape)
    # Without a home that can be written to it makes a folder of its own, and tells of that in two long lines.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # until the process ends
        elif hasattr(stream, "reconfigure"):  # not where a test or a notebook has put its own
            stream.reconfigure(errors=_ERRORS)


@contextmanager
def own_warnings_in_words() -> Iterator[None]:
    """Show a warning of equissl's own as one line, without the place in its code."""
    before = warnings.formatwarning

    def formatted(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if Path(filename).is_relative_to(_PACKAGE):
            return f"warning: {message}\n"
        return before(message, category, filename, lineno, line)

    warnings.formatwarning = formatted
    try:
        yield
    finally:
        warnings.formatwarning = before


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end
