"""When a difference is clear: paired t over shared seeds, or intervals that do not overlap."""

from __future__ import annotations

import math
import statistics as standard

import pytest

from equissl.report import statistics
from equissl.report.statistics import Estimate


def test_the_interval_is_students() -> None:
    values = [0.1, 0.4, 0.3, 0.9]
    low, high = statistics.t_interval(values) or (0.0, 0.0)
    half = 3.1824463 * standard.stdev(values) / 2  # the 97.5 % quantile of t with 3 degrees of freedom
    assert (low + high) / 2 == pytest.approx(0.425) and high - low == pytest.approx(2 * half)
    assert statistics.t_interval([1.0]) is None and statistics.std([1.0]) is None
    assert statistics.mean([]) is None and statistics.std([1.0, 3.0]) == pytest.approx(math.sqrt(2))


def test_pairs_are_of_shared_seeds() -> None:
    assert statistics.paired_differences({2: 5.0, 0: 1.0, 7: 9.0}, {0: 3.0, 2: 1.0}) == {0: -2.0, 2: 4.0}


@pytest.mark.parametrize(
    ("a", "b", "sign"),
    [
        (Estimate(0.5, 0.4, 0.6), Estimate(0.2, 0.1, 0.3), 1),
        (Estimate(0.2, 0.1, 0.3), Estimate(0.5, 0.4, 0.6), -1),
        (Estimate(0.5, 0.4, 0.6), Estimate(0.3, 0.2, 0.4), 0),  # the intervals touch
        (Estimate(0.5), Estimate(0.3, 0.2, 0.4), 0),
        (Estimate(2, 0, 9, {0: 1.0, 1: 3.0}), Estimate(1, 0, 9, {0: 0.0, 1: 2.0}), 1),  # by seed, though wide
        (Estimate(2, 1.5, 9, {0: 1.0, 1: 3.0}), Estimate(1, 0, 1, {0: 0.9, 1: 1.0}), 0),  # seeds come first
        (Estimate(2, 1.5, 9, {0: 1.0}), Estimate(1, 0, 1, {0: 0.9}), 1),  # one seed is no pair to judge by
    ],
)
def test_the_rule(a: Estimate, b: Estimate, sign: int) -> None:
    assert statistics.compare(a, b) == sign and statistics.compare(b, a) == -sign
