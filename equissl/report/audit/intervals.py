"""Numbers with 95 % intervals, from rows and from lists in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from equissl.report.rows import Measure, number


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval, if there is one."""

    value: float
    low: float | None = None
    high: float | None = None


def interval_of(row: Measure) -> Interval:
    """The value of a row."""
    return Interval(row.value, row.low, row.high)


def triple(values: object) -> Interval | None:
    """[value, low, high]; None unless it is that."""
    clean = numbers(values)
    return Interval(*clean) if len(clean) == 3 else None


def numbers(values: object) -> tuple[float, ...]:
    """A list of numbers; empty unless it is that."""
    clean = [number(v) for v in values] if isinstance(values, list) else []
    return tuple(v for v in clean if v is not None) if None not in clean else ()


def numbers_by_name(values: object) -> dict[str, float]:
    """The numbers of a mapping."""
    pairs = values.items() if isinstance(values, Mapping) else ()
    return {str(n): v for n, value in pairs if (v := number(value)) is not None}
