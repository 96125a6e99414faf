"""Estimates with 95 % confidence intervals: proportions, bootstrap and jackknife over groups of images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.random import Stream

MIN_DEFINED = 0.95  # of the resamples
Z95 = 1.959964  # the 97.5 % quantile of the standard normal distribution


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % confidence interval."""

    value: float
    low: float
    high: float


def estimate(
    statistic: Callable[[Tensor], float], groups: Tensor, num_resamples: int = 200, seed: int = 0
) -> Estimate:
    """A statistic of all rows with its bootstrap interval, widened to contain the value if need be.

    Args:
        statistic: row numbers (n,) -> value.
        groups: (N,) rows of one group are resampled together.
    """
    value = statistic(torch.arange(len(groups)))
    low, high = bootstrap(statistic, groups, num_resamples, seed)
    return Estimate(value, min(low, value), max(high, value))


def mean_estimate(values: Tensor, groups: Tensor, seed: int = 0) -> Estimate:
    """The mean of (N,) values with its bootstrap interval over ``groups`` (N,)."""
    return estimate(lambda rows: float(values[rows].mean()), groups, seed=seed)


def proportion(correct: Tensor, groups: Tensor, seed: int = 0) -> Estimate:
    """The fraction of True in (N,) bool with Wilson's interval, or the bootstrap's if images share groups.

    Source: Wilson, JASA 22 (1927); equal to scipy's ``binomtest(...).proportion_ci(method="wilson")`` up to
    the digits of ``Z95``.

    >>> result = proportion(torch.arange(20) < 15, torch.arange(20))
    >>> f"{result.value:.2f} [{result.low:.2f}, {result.high:.2f}]"
    '0.75 [0.53, 0.89]'
    """
    count, value = len(correct), float(correct.double().mean())
    if len(torch.unique(groups)) < count:
        return mean_estimate(correct.double(), groups, seed)
    z = Z95
    centre = (value + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(value * (1 - value) / count + (z / count) ** 2 / 4)
    return Estimate(value, min(centre - half, value), max(centre + half, value))


def bootstrap(
    statistic: Callable[[Tensor], float], groups: Tensor, num_resamples: int = 200, seed: int = 0
) -> tuple[float, float]:
    """A 95 % percentile interval from resampling groups with replacement.

    A resample in which the statistic is NaN, as R2 is where no target varies, is left out; NaN if more than
    5 % are.

    Args:
        statistic: row numbers (n,) -> value.
        groups: (N,) rows of one group are resampled together.
    """
    generator = torch.Generator().manual_seed(seed)
    order = groups.argsort(dim=0, stable=True)
    _, counts = torch.unique(groups, return_counts=True)
    starts = counts.cumsum(0) - counts
    values = []
    for _ in range(num_resamples):
        sampled = torch.randint(len(counts), (len(counts),), generator=generator)
        lengths = counts[sampled]
        # Row k of the resample is the k-th minus (rows of the groups before) of its own group.
        shift = starts[sampled] - (lengths.cumsum(0) - lengths)
        rows = torch.arange(int(lengths.sum())) + shift.repeat_interleave(lengths)
        values.append(statistic(order[rows]))
    found = torch.tensor(values, dtype=torch.float64)
    defined = found[~found.isnan()]
    if len(defined) < MIN_DEFINED * len(found):
        return math.nan, math.nan
    low, high = defined.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return float(low), float(high)


def jackknife(statistic: Callable[[Tensor], float], groups: Tensor, folds: int = 10) -> Estimate | None:
    """A statistic with its 95 % interval from leaving out one fold of the groups at a time.

    For statistics that repeated images would bias, such as a rank. None below four groups.

    Args:
        statistic: row numbers (n,) -> value.
        groups: (N,) rows of one group are left out together.
    """
    names, which = torch.unique(groups, return_inverse=True)
    if len(names) < 4:
        return None
    # By the hash of a group, so that the order of the images does not matter.
    position = Stream.of(names, "jackknife").keys.argsort(stable=True).argsort()
    fold = position[which] % folds
    left_out = [statistic((fold != k).nonzero()[:, 0]) for k in range(min(folds, len(names)))]
    value, without = statistic(torch.arange(len(groups))), torch.tensor(left_out, dtype=torch.float64)
    half = Z95 * math.sqrt(float(without.var(correction=0)) * (len(left_out) - 1))
    return Estimate(value, value - half, value + half)
