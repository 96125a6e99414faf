"""Checks of the fields of augmentations and of image sizes."""

from __future__ import annotations

import math
from numbers import Integral, Real

_LARGEST = 1e6  # of any range: beyond it single precision overflows or an image is a single color


def check_between(field: str, value: float, low: float = 0.0, high: float = 1.0) -> None:
    """Check a number within bounds; by default a probability.

    Raises:
        ValueError: ``value`` is no number between ``low`` and ``high``.
    """
    if not _is_number(value) or not low <= value <= high:
        raise ValueError(f"{field} must be between {low:g} and {high:g}, got {value}")


def check_at_least(field: str, value: float, low: float) -> None:
    """Check a finite number with a lower bound.

    Raises:
        ValueError: ``value`` is no number, below ``low`` or not finite.
    """
    if not _is_number(value) or not low <= value < math.inf:
        raise ValueError(f"{field} must be at least {low:g}, got {value}")


def check_integer(field: str, value: object) -> None:
    """Check an integer.

    Raises:
        ValueError: ``value`` is no integer.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{field} must be an integer, got {value!r}")


def check_pair(field: str, value: tuple[float, float]) -> None:
    """Check a pair of numbers.

    Raises:
        ValueError: ``value`` does not consist of two numbers.
    """
    if not (isinstance(value, tuple) and len(value) == 2 and all(map(_is_number, value))):
        raise ValueError(f"{field} must be a tuple of two numbers, got {value!r}")


def check_range(
    field: str, value: tuple[float, float], low: float, high: float = math.inf, exclusive: bool = False
) -> None:
    """Check a range (min, max) within [low, high], or within (low, high] if ``exclusive``.

    Bounds are cut to a million, and what is above 0 by ``exclusive`` is at least a millionth.

    Raises:
        ValueError: it does not.
    """
    check_pair(field, value)
    smallest, largest = value
    low, high = max(low, -_LARGEST), min(high, _LARGEST)
    inside = low <= smallest <= largest <= high
    if not inside or (exclusive and smallest < low + 1 / _LARGEST):
        bound = f", {'above' if exclusive else 'at least'} {low:g}"
        limit = f", at most {high:g}"
        raise ValueError(f"{field} must be a range (min, max){bound}{limit}, got {value}")


def check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    """Check one of several options.

    Raises:
        ValueError: ``value`` is none of ``choices``.
    """
    if value not in choices:
        raise ValueError(f"{field} must be one of {choices}, got {value!r}")


def check_square(size: tuple[int, int]) -> None:
    """Check that height and width are equal.

    Raises:
        ValueError: they differ.
    """
    if size[0] != size[1]:
        raise ValueError(f"quarter turns need square images, got {size[0]}x{size[1]}; crop them first")


def check_even(size: tuple[int, int]) -> None:
    """Check that height and width are even.

    Raises:
        ValueError: one of them is odd.
    """
    if size[0] % 2 or size[1] % 2:
        raise ValueError(f"halves and quadrants need images with even sides, got {size[0]}x{size[1]}")


def _is_number(value: object) -> bool:
    return isinstance(value, Real)
