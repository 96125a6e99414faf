"""Rank correlations between what an audit says of encoders and how well they do tasks.

Tables have a row per encoder. Columns of ``scores`` are factors of the audit, those of ``tasks`` what is done
with features; column k of one belongs to column k of the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]


def spearman(scores: Array, tasks: Array) -> Array:
    """Spearman's correlation of every factor with every task: (E, F), (E, T) -> (F, T).

    NaN where a column does not vary.
    """
    a, b = _ranks(scores), _ranks(tasks)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a.T @ b) / np.sqrt(np.outer((a**2).sum(0), (b**2).sum(0)))


def partial_spearman(scores: Array, tasks: Array, control: Array) -> Array:
    """The same of the residuals of the ranks, when those of ``control`` (E,) are regressed out."""
    z = _ranks(control[:, None])
    a, b = (x - z @ (z.T @ x) / (z**2).sum() for x in (_ranks(scores), _ranks(tasks)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a.T @ b) / np.sqrt(np.outer((a**2).sum(0), (b**2).sum(0)))


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Foretelling:
    """Correlations of factors with the tasks that need them and with the others.

    Args:
        own: of each task with its factor.
        own_partial: the same given the control.
        matching, matching_partial: medians of these over tasks.
        other, other_partial: medians over the pairs of a task and a factor that is not its own.
        difference, difference_partial: matching less other.
    """

    own: tuple[Interval, ...]
    own_partial: tuple[Interval, ...]
    matching: Interval
    other: Interval
    difference: Interval
    matching_partial: Interval
    other_partial: Interval
    difference_partial: Interval


def foretelling(
    scores: Array, tasks: Array, control: Array, others: NDArray[np.bool_], rounds: int = 1000, seed: int = 0
) -> Foretelling:
    """Correlations with percentile intervals of a bootstrap over encoders.

    Args:
        scores, tasks: (E, T).
        control: (E,), which is partialled out.
        others: (T, T) of factors and tasks: the pairs that count as "other".
    """

    def every(rows: NDArray[np.int64]) -> Array:
        raw = spearman(scores[rows], tasks[rows])
        given = partial_spearman(scores[rows], tasks[rows], control[rows])
        medians = [m for table in (raw, given) for m in _medians(table, others)]
        return np.array([*np.diag(raw), *np.diag(given), *medians])

    count = tasks.shape[1]
    found = _intervals(every, len(scores), rounds, seed)
    return Foretelling(tuple(found[:count]), tuple(found[count : 2 * count]), *found[2 * count :])


def _medians(table: Array, others: NDArray[np.bool_]) -> tuple[float, float, float]:
    matching, other = float(np.nanmedian(np.diag(table))), float(np.nanmedian(table[others]))
    return matching, other, matching - other


def _intervals(
    statistic: Callable[[NDArray[np.int64]], Array], count: int, rounds: int, seed: int
) -> list[Interval]:
    drawn = np.random.default_rng(seed).integers(count, size=(rounds, count))
    low, high = np.nanquantile([statistic(rows) for rows in drawn], (0.025, 0.975), axis=0)
    value = statistic(np.arange(count))
    return [Interval(*map(float, row)) for row in zip(value, low, high, strict=True)]


def _ranks(values: Array) -> Array:
    ranks = rankdata(values, axis=0)
    return ranks - ranks.mean(0)
