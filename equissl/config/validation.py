"""Range checks of configs' fields, with one wording of their messages."""

from __future__ import annotations


def check_bounds(
    config: object,
    *fields: str,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
) -> None:
    """Check numbers, or tuples of numbers, in the fields of a config; NaN passes no check.

    Args:
        low, high: inclusive bounds.
        above: exclusive lower bound.

    Raises:
        ValueError: naming the first field out of bounds.

    >>> from types import SimpleNamespace
    >>> check_bounds(SimpleNamespace(momentum=1.5), "momentum", low=0, high=1)
    Traceback (most recent call last):
    ValueError: momentum must be in [0, 1], got 1.5
    """
    for field in fields:
        value = getattr(config, field)
        for number in value if isinstance(value, tuple) else (value,):
            if low is not None and high is not None:
                inside, bound = low <= number <= high, f"in [{low:g}, {high:g}]"
            elif low is not None:
                inside, bound = low <= number, f"at least {low:g}"
            elif high is not None:
                inside, bound = number <= high, f"at most {high:g}"
            else:
                inside, bound = True, ""
            if above is not None and not number > above:
                inside, bound = False, f"above {above:g}"
            if not inside:
                raise ValueError(f"{field} must be {bound}, got {value}")
