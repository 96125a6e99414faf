"""Paired differences of scores, beside what untrained networks differ among each other; Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from equissl.evaluate.audit.readouts.interval import Resampled
from equissl.evaluate.statistics import Estimate

ALPHA = 0.05


@dataclass(frozen=True)
class Times:
    """How many times as many images and untrained networks there are as were measured."""

    images: float = 1.0
    networks: float = 1.0


@dataclass(frozen=True)
class Evidence:
    """One factor read from the same images in several ways, with the same resamples.

    Args:
        model: from the encoder's features.
        untrained: from those of networks of its kind with random weights, in families that were initialised
            in one way each.
        statistics: from statistics of the images.
        others: from anything else that may show that the factor can be read at all.
        chance: the score of a constant.
    """

    model: Resampled
    untrained: Sequence[Sequence[Resampled]]
    statistics: Resampled
    others: Sequence[Resampled] = ()
    chance: float = 0.0


@dataclass(frozen=True)
class Difference:
    """A paired difference of scores on the same images.

    Args:
        freedom: degrees of freedom of its t distribution.
    """

    value: float
    deviation: float
    freedom: float = math.inf

    def interval(self, level: float = 0.95) -> Estimate:
        half = _quantile(0.5 + level / 2, self.freedom) * self.deviation
        return Estimate(self.value, self.value - half, self.value + half)

    def p_above(self, bound: float = 0.0) -> float:
        """The p value of the hypothesis that the difference is at most ``bound``."""
        return _tail((self.value - bound) / max(self.deviation, 1e-12), self.freedom)

    def p_below(self, bound: float = 0.0) -> float:
        """The p value of the hypothesis that the difference is at least ``bound``."""
        return _tail((bound - self.value) / max(self.deviation, 1e-12), self.freedom)


def difference(
    model: Resampled,
    others: Sequence[Resampled],
    spread: tuple[float, int] | None = None,
    one_of_them: bool = False,
    times: Times = Times(),
) -> Difference:
    """A score minus the mean of others, resample by resample.

    Where there are several others their spread counts too, as they are a sample of all initialisations; its
    degrees of freedom follow Welch and Satterthwaite.

    Args:
        spread: variance over initialisations and its degrees of freedom, if not those of ``others``.
        one_of_them: the hypothesis is that the model is one more of the others, which differs from their mean
            as each of them does.
        times: as if there were so many times as many images and networks.
    """
    resamples = model.resamples - torch.stack([o.resamples for o in others]).mean(0)
    repeats = model.values - torch.stack([o.values for o in others]).mean(0)
    images = float(resamples.var()) + (float(repeats.var()) / len(repeats) if len(repeats) > 1 else 0.0)
    images /= times.images
    variance, counted = spread or pooled_variance([others])
    variance *= 1 / (len(others) * times.networks) + one_of_them
    own_freedom = counted * times.networks
    freedom = (images + variance) ** 2 / (variance**2 / own_freedom) if variance > 0 else math.inf
    return Difference(float(repeats.mean()), math.sqrt(images + variance), freedom)


def pooled_variance(families: Sequence[Sequence[Resampled]]) -> tuple[float, int]:
    """The variance of scores within families, and its degrees of freedom."""
    values = [torch.tensor([o.value for o in family], dtype=torch.float64) for family in families]
    freedom = sum(len(v) - 1 for v in values)
    squares = sum(float((v - v.mean()).square().sum()) for v in values)
    return (squares / freedom if freedom else 0.0), freedom


def common_spread(evidence: Sequence[Evidence]) -> tuple[float, int]:
    """The variance over initialisations that factors have on average, and its degrees of freedom.

    Two networks of a family say little about how much the score of one factor differs between networks; what
    all factors say together is taken where it is larger.
    """
    found = [pooled_variance([f for f in e.untrained if f]) for e in evidence]
    freedom = sum(f for _, f in found)
    return (sum(v * f for v, f in found) / freedom if freedom else 0.0), freedom


def to_untrained(
    evidence: Evidence,
    common: tuple[float, int] = (0.0, 0),
    one_of_them: bool = False,
    times: Times = Times(),
) -> list[Difference]:
    """Differences to each family; to all as one where no family has two networks.

    Args:
        common: variance over initialisations and its degrees of freedom, of several factors.
        one_of_them, times: as in ``difference``.
    """
    families = [family for family in evidence.untrained if family]
    own = pooled_variance(families)
    spread = max(own[0], common[0]), max(own[1], common[1])
    if not spread[1]:
        every = [o for family in families for o in family]
        return [difference(evidence.model, every, None, one_of_them, times)]
    return [difference(evidence.model, family, spread, one_of_them, times) for family in families]


def holm(p_values: Mapping[str, float], alpha: float = ALPHA) -> dict[str, bool]:
    """Which hypotheses are rejected at a family-wise level (Holm, Scand. J. Stat. 6, 1979)."""
    rejected = dict.fromkeys(p_values, False)
    for k, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        if p_values[name] > alpha / (len(p_values) - k):
            break
        rejected[name] = True
    return rejected


def _tail(t: float, freedom: float) -> float:
    return float(_distribution("sf")(t, freedom))


def _quantile(level: float, freedom: float) -> float:
    return float(_distribution("ppf")(level, freedom))


def _distribution(method: str) -> Callable[[float, float], float]:
    from scipy.stats import norm, t

    def value(x: float, freedom: float) -> float:
        found: float = getattr(norm, method)(x) if math.isinf(freedom) else getattr(t, method)(x, freedom)
        return found

    return value
