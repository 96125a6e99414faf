"""What the fields of an augmentation must satisfy, and the closed-form moments of what it draws."""

from __future__ import annotations

import math
from numbers import Integral, Real

import torch
from torch import Tensor

from equissl.augment.base import Moments


def check_number(field: str, value: float, low: float = 0.0, high: float = 1.0) -> None:
    """By default a probability.

    Raises:
        ValueError: ``value`` is no number between ``low`` and ``high``.
    """
    if not _is_number(value) or not low <= value <= high:
        raise ValueError(f"{field} must be between {low:g} and {high:g}, got {value}")


def check_at_least(field: str, value: float, low: float) -> None:
    """
    Raises:
        ValueError: ``value`` is no number, below ``low`` or not finite.
    """
    if not _is_number(value) or not low <= value < math.inf:
        raise ValueError(f"{field} must be at least {low:g}, got {value}")


def check_whole(field: str, value: object) -> None:
    """
    Raises:
        ValueError: ``value`` is no whole number.
    """
    if not isinstance(value, Integral):
        raise ValueError(f"{field} must be a whole number, got {value!r}")


def check_pair(field: str, value: tuple[float, float]) -> None:
    """
    Raises:
        ValueError: ``value`` does not consist of two numbers.
    """
    whole = isinstance(value, tuple) and len(value) == 2 and all(map(_is_number, value))
    if not whole:
        raise ValueError(f"{field} must be a tuple of two numbers, got {value!r}")


def check_range(
    field: str, value: tuple[float, float], low: float, high: float = math.inf, above: bool = False
) -> None:
    """A range (least, most) within [low, high], or within (low, high] if it must lie ``above``.

    Raises:
        ValueError: it does not.
    """
    check_pair(field, value)
    least, most = value
    inside = low <= least <= most <= high and math.isfinite(least) and math.isfinite(most)
    if not inside or (above and least <= low):
        bound = f", {'above' if above else 'at least'} {low:g}" if math.isfinite(low) else ""
        limit = f", at most {high:g}" if math.isfinite(high) else ""
        raise ValueError(f"{field} must be a range (least, most){bound}{limit}, got {value}")


def check_choice(field: str, value: str, valid: tuple[str, ...]) -> None:
    """
    Raises:
        ValueError: ``value`` is none of ``valid``.
    """
    if value not in valid:
        raise ValueError(f"{field} must be one of {valid}, got {value!r}")


def uniform(name: str, bounds: tuple[float, float], probability: float, rest: float = 0.0) -> Moments:
    """Moments of a factor that is uniform within ``bounds`` if applied and ``rest`` otherwise."""
    low, high = bounds
    first = probability * (low + high) / 2 + (1 - probability) * rest
    second = probability * _square(low, high) + (1 - probability) * rest**2
    return {name: (_row(first), _row(second)), **flag(name, probability)}


def switch(name: str, probability: float) -> Moments:
    """Moments of a factor that is 1 if applied and 0 otherwise."""
    return {name: (_row(probability), _row(probability)), **flag(name, probability)}


def flag(name: str, probability: float) -> Moments:
    """Moments of whether a factor was applied."""
    return {f"{name}/applied": (_row(probability), _row(probability))}


def spread(bounds: tuple[float, float], probability: float, rest: float = 0.0) -> float:
    """Root-mean-square distance from ``rest`` of such a factor; 1 if it never leaves it."""
    square = probability * _square(bounds[0] - rest, bounds[1] - rest)
    return math.sqrt(square) if square > 0 else 1.0


def _is_number(value: object) -> bool:
    return isinstance(value, Real)


def _square(low: float, high: float) -> float:
    # The mean of x^2 for x uniform in [low, high], in a form that has no division by high - low.
    return (low * low + low * high + high * high) / 3


def _row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
