"""Streams of the command line that accept any text, whatever the terminal, the locale or a pipe can show."""

from __future__ import annotations

import codecs
import os
import sys

_ERRORS = "equissl_terminal"
_PLAIN = {"²": "2", "±": "~", "·": "-", "…": "~"}  # of our tables, in as many columns


def prepare_streams() -> None:
    """Let ``sys.stdout`` and ``sys.stderr`` write what they cannot encode: R² as R2, names with escapes.

    A closed one is replaced by the null device, which also keeps files from getting its descriptor.
    """
    codecs.register_error(_ERRORS, _escape)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # until the process ends
        elif hasattr(stream, "reconfigure"):  # not where a test or a notebook has put its own
            stream.reconfigure(errors=_ERRORS)


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end
