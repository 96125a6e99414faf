"""The numbers that were chosen for an audit, kept so that it goes on with them on a busier machine too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from equissl.errors import UserError
from equissl.evaluate.audit.options import AuditOptions
from equissl.evaluate.checked_file import read_checked, write_checked

FILE = "chosen numbers.safetensors"  # no audit has a name of two words
_NAMES = ("count", "draws", "untrained")


def with_chosen(options: AuditOptions, folder: Path | None, key: str) -> AuditOptions:
    """The options with the numbers that an interrupted audit was begun with, where these are not given.

    Args:
        key: a digest of all that the choice is for.
    """
    try:
        facts = {} if folder is None else read_checked(folder / FILE)[0]
        if facts["key"] != key:
            return options
        return replace(options, **{n: facts[n] for n in _NAMES if getattr(options, n) is None})
    except (OSError, UserError, LookupError, ValueError, TypeError):
        return options  # there are none, or the file is damaged


def write_chosen(options: AuditOptions, folder: Path, key: str) -> None:
    """Keep the numbers of ``choose``."""
    write_checked(folder / FILE, {"key": key} | {n: getattr(options, n) for n in _NAMES}, {})
