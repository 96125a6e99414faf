"""The rule by which the audit says that a factor is kept or lost: paired differences, Holm over factors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from equissl.evaluate.audit.interval import Resampled
from equissl.evaluate.statistics import Estimate

Word = Literal["kept", "as untrained", "as image statistics", "lost", "not readable", "undecided"]
ALPHA = 0.05
MARGIN = 0.05  # of R2; half of it for accuracies, which span half as much between chance and 1


@dataclass(frozen=True)
class Evidence:
    """One factor read from the same images in several ways, with the same resamples.

    Args:
        model: from the encoder's features.
        untrained: from those of networks of its kind with random weights, each of another initialisation.
        statistics: from statistics of the images.
        others: from anything else that may show that the factor can be read at all.
        chance: the score of a constant.
    """

    model: Resampled
    untrained: Sequence[Resampled]
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


@dataclass(frozen=True)
class Verdict:
    """What the audit says of one factor.

    Args:
        to_untrained: the model's score minus the mean of the untrained networks'.
        to_statistics: minus that of statistics of the images.
    """

    word: Word
    to_untrained: Difference
    to_statistics: Difference


def difference(model: Resampled, others: Sequence[Resampled]) -> Difference:
    """A score minus the mean of others, resample by resample.

    Where there are several others their spread counts too, as they are a sample of all initialisations; its
    degrees of freedom follow Welch and Satterthwaite.
    """
    resamples = model.resamples - torch.stack([o.resamples for o in others]).mean(0)
    repeats = model.values - torch.stack([o.values for o in others]).mean(0)
    images = float(resamples.var()) + (float(repeats.var()) / len(repeats) if len(repeats) > 1 else 0.0)
    count = len(others)
    spread = float(torch.tensor([o.value for o in others]).double().var()) / count if count > 1 else 0.0
    freedom = (images + spread) ** 2 / (spread**2 / (count - 1)) if spread > 0 else math.inf
    return Difference(float(repeats.mean()), math.sqrt(images + spread), freedom)


def verdicts(factors: Mapping[str, Evidence], margin: float = MARGIN) -> dict[str, Verdict]:
    """The verdict on each factor, at a family-wise level of 5 % (Holm) for each of the words.

    - "not readable": nothing reads the factor above chance, neither the features nor the references.
    - "kept": read better than from untrained networks of the kind and than from image statistics.
    - "lost": read worse than from untrained networks.
    - "as untrained": the difference to untrained networks is within the margin.
    - "as image statistics": at least as untrained, but not better than image statistics by more than the
      margin.
    - "undecided": the images are too few to say.
    """
    found = {n: _verdict_parts(e, margin) for n, e in factors.items()}
    kept = holm({n: max(f.to_untrained.p_above(), f.to_statistics.p_above()) for n, f in found.items()})
    lost = holm({n: f.to_untrained.p_below() for n, f in found.items()})
    alike = holm({n: f.p_alike for n, f in found.items()})
    plain = holm({n: f.p_plain for n, f in found.items()})
    readable = holm({n: f.p_chance for n, f in found.items()})
    results = {}
    for name, parts in found.items():
        word: Word
        if not readable[name]:
            word = "not readable"
        elif kept[name]:
            word = "kept"
        elif lost[name]:
            word = "lost"
        elif alike[name]:
            word = "as untrained"
        else:
            word = "as image statistics" if plain[name] else "undecided"
        results[name] = Verdict(word, parts.to_untrained, parts.to_statistics)
    return results


@dataclass(frozen=True)
class _Parts:
    to_untrained: Difference
    to_statistics: Difference
    p_alike: float
    p_plain: float
    p_chance: float


def _verdict_parts(evidence: Evidence, margin: float) -> _Parts:
    m = margin if evidence.model.regress else margin / 2
    to_untrained = difference(evidence.model, evidence.untrained)
    to_statistics = difference(evidence.model, [evidence.statistics])
    not_below = to_untrained.p_above(-m)
    alike, plain = (max(not_below, d.p_below(m)) for d in (to_untrained, to_statistics))
    rows = [evidence.model, *evidence.untrained, evidence.statistics, *evidence.others]
    above = [Difference(r.value, math.sqrt(r.variance())).p_above(evidence.chance) for r in rows]
    return _Parts(to_untrained, to_statistics, alike, plain, min(1.0, min(above) * len(above)))


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
