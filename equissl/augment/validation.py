"""Checks of the fields of augmentations and of image sizes."""

from __future__ import annotations

import math

MAX_SIDE = 2**14  # pixels of an image that is made; larger is a mistake in the number

_LARGEST = 1e6  # of any range: beyond it single precision overflows or an image is a single color


def check_between(field: str, value: float, low: float = 0.0, high: float = 1.0) -> None:
    """Check a number within bounds; by default a probability.

    Raises:
        ValueError: ``value`` is not between ``low`` and ``high``.
    """
    if not low <= value <= high:
        raise ValueError(f"{field} must be between {low:g} and {high:g}, got {value}")


def check_at_least(field: str, value: float, low: float, high: float = math.inf) -> None:
    """Check a number with a lower bound and perhaps an upper one.

    Raises:
        ValueError: ``value`` is below ``low`` or above ``high``.
    """
    if not low <= value <= high:
        bound = f"at least {low:g}" if not value >= low else f"at most {high:g}"
        raise ValueError(f"{field} must be {bound}, got {value}")


def check_range(
    field: str, value: tuple[float, float], low: float, high: float = math.inf, exclusive: bool = False
) -> None:
    """Check a range (min, max) within [low, high], or within (low, high] if ``exclusive``.

    Bounds are cut to a million, and what is above 0 by ``exclusive`` is at least a millionth.

    Raises:
        ValueError: it does not.
    """
    smallest, largest = value
    low, high = max(low, -_LARGEST), min(high, _LARGEST)
    inside = low <= smallest <= largest <= high
    if not inside or (exclusive and smallest < low + 1 / _LARGEST):
        bound = f", {'above' if exclusive else 'at least'} {low:g}"
        limit = f", at most {high:g}"
        raise ValueError(f"{field} must be a range (min, max){bound}{limit}, got {value}")


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
