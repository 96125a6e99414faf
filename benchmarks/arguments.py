"""Numbers on the command line of the benchmarks, and their mistakes in words."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from equissl.errors import UserError


def seconds(text: str) -> float:
    """A time that is measured for: more than 0, at most an hour."""
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"expected seconds above 0 and at most 3600, got {text}")
    return value


def at_least(least: int) -> Callable[[str], int]:
    """The type of a whole number from ``least`` on."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"expected {least} or more, got {text}")
        return value

    return number


def in_words(main: Callable[[], object]) -> None:
    """Run ``main``; a mistake of the user's, or a library that is not installed, ends it with one line."""
    try:
        main()
    except (UserError, ImportError) as error:
        sys.exit(f"error: {error}")
