"""Statistics over seeds, and when a difference counts as clear; used by reports and studies alike.

The rule: with two or more seeds in common, a difference is clear if the 95 % interval of the paired
differences (Student's t) excludes 0. Otherwise it is clear if both numbers have a 95 % interval and these
do not overlap.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """One number to compare.

    Args:
        value: mean over seeds, if there are several.
        low, high: its 95 % interval, None if unknown.
        by_seed: training seed -> value; empty for a single run.
    """

    value: float
    low: float | None = None
    high: float | None = None
    by_seed: Mapping[int, float] = field(default_factory=dict)


def mean(values: Sequence[float]) -> float | None:
    """The arithmetic mean, None of nothing."""
    return statistics.fmean(values) if values else None


def std(values: Sequence[float]) -> float | None:
    """The sample standard deviation (n - 1), None below two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def t_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """Student's interval of the mean, None below two values."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    centre = statistics.fmean(values)
    return centre - half, centre + half


def paired_differences(a: Mapping[int, float], b: Mapping[int, float]) -> dict[int, float]:
    """Seed -> a minus b, of the seeds that both have."""
    return {seed: value - b[seed] for seed, value in sorted(a.items()) if seed in b}


def sign_of(differences: Sequence[float]) -> int:
    """1 or -1 if the t interval of paired differences lies above or below 0, else 0."""
    interval = t_interval(differences)
    if interval is None:
        return 0
    low, high = interval
    return 1 if low > 0 else -1 if high < 0 else 0


def compare(a: Estimate, b: Estimate) -> int:
    """1 if a is clearly above b, -1 if it is clearly below, 0 if there is no clear difference."""
    differences = list(paired_differences(a.by_seed, b.by_seed).values())
    if len(differences) > 1:
        return sign_of(differences)
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return 0
    return 1 if a.low > b.high else -1 if a.high < b.low else 0
