"""The rule by which the audit says that a factor is kept or lost: paired differences, Holm over factors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from equissl.evaluate.audit.readouts.interval import Resampled
from equissl.evaluate.statistics import Z95, Estimate

Word = Literal["kept", "as untrained", "as image statistics", "lost", "not readable", "undecided"]
ALPHA = 0.05
MARGIN = 0.05  # of R2; half of it for accuracies, which span half as much between chance and 1


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
class Estimates:
    """One factor read from the same images twice, as scores with 95 % intervals.

    Args:
        untrained: from the features of one network of the model's kind with random weights.
        regress: R2 rather than an accuracy.
    """

    model: Estimate
    untrained: Estimate
    chance: float = 0.0
    regress: bool = True


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
        to_untrained: the model's score minus the mean of the untrained networks of the nearest family.
        to_statistics: minus that of statistics of the images.
    """

    word: Word
    to_untrained: Difference
    to_statistics: Difference


def difference(
    model: Resampled,
    others: Sequence[Resampled],
    spread: tuple[float, int] | None = None,
    one_of_them: bool = False,
) -> Difference:
    """A score minus the mean of others, resample by resample.

    Where there are several others their spread counts too, as they are a sample of all initialisations; its
    degrees of freedom follow Welch and Satterthwaite.

    Args:
        spread: variance over initialisations and its degrees of freedom, if not those of ``others``.
        one_of_them: the hypothesis is that the model is one more of the others, which differs from their mean
            as each of them does.
    """
    resamples = model.resamples - torch.stack([o.resamples for o in others]).mean(0)
    repeats = model.values - torch.stack([o.values for o in others]).mean(0)
    images = float(resamples.var()) + (float(repeats.var()) / len(repeats) if len(repeats) > 1 else 0.0)
    variance, own_freedom = spread or pooled_variance([others])
    variance *= 1 / len(others) + one_of_them
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
    evidence: Evidence, common: tuple[float, int] = (0.0, 0), one_of_them: bool = False
) -> list[Difference]:
    """Differences to each family; to all as one where no family has two networks.

    Args:
        common: variance over initialisations and its degrees of freedom, of several factors.
        one_of_them: as in ``difference``.
    """
    families = [family for family in evidence.untrained if family]
    own = pooled_variance(families)
    spread = max(own[0], common[0]), max(own[1], common[1])
    if not spread[1]:
        every = [o for family in families for o in family]
        return [difference(evidence.model, every, None, one_of_them)]
    return [difference(evidence.model, family, spread, one_of_them) for family in families]


def verdicts(factors: Mapping[str, Evidence], margin: float = MARGIN) -> dict[str, Verdict]:
    """The verdict on each factor, at a family-wise level of 5 % (Holm) for each of the words.

    - "not readable": nothing reads the factor above chance, neither the features nor the references.
    - "kept": read better than from untrained networks of the kind, by more than they differ among each other,
      and than from image statistics.
    - "lost": read worse than from untrained networks, likewise.
    - "as untrained": within the margin of untrained networks, or between two families of them.
    - "as image statistics": at least as untrained, but not better than image statistics by more than the
      margin.
    - "undecided": the images are too few to say.
    """
    kinds = {kind: [e for e in factors.values() if e.model.regress == kind] for kind in (True, False)}
    common = {kind: common_spread(of) for kind, of in kinds.items()}
    return _words({n: _parts(e, margin, common[e.model.regress]) for n, e in factors.items()})


def estimated_verdicts(factors: Mapping[str, Estimates], margin: float = MARGIN) -> dict[str, Verdict]:
    """``verdicts`` from scores with intervals instead of resamples.

    What the scores of one image share is not taken off, so that more is undecided; without image statistics
    nothing is "as image statistics".
    """
    return _words({n: _estimated_parts(e, margin) for n, e in factors.items()})


def _words(found: Mapping[str, _Parts]) -> dict[str, Verdict]:
    kept = holm({n: max(f.p_better, f.to_statistics.p_above()) for n, f in found.items()})
    lost = holm({n: f.p_worse for n, f in found.items()})
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
    p_better: float
    p_worse: float
    p_alike: float
    p_plain: float
    p_chance: float


def _parts(evidence: Evidence, margin: float, common: tuple[float, int]) -> _Parts:
    m = margin if evidence.model.regress else margin / 2
    families, tested = (to_untrained(evidence, common, one_of_them) for one_of_them in (False, True))
    to_statistics = difference(evidence.model, [evidence.statistics])
    not_below = min(d.p_above(-m) for d in families)
    not_above = min(d.p_below(m) for d in families)
    networks = [o for family in evidence.untrained for o in family]
    rows = [evidence.model, *networks, evidence.statistics, *evidence.others]
    above = [Difference(r.value, math.sqrt(r.variance())).p_above(evidence.chance) for r in rows]
    return _Parts(
        min(families, key=lambda d: abs(d.value)),
        to_statistics,
        max(d.p_above() for d in tested),
        max(d.p_below() for d in tested),
        max(not_below, not_above),
        max(not_below, to_statistics.p_below(m)),
        min(1.0, min(above) * len(above)),
    )


def _estimated_parts(scores: Estimates, margin: float) -> _Parts:
    m = margin if scores.regress else margin / 2
    model, untrained = _deviation(scores.model), _deviation(scores.untrained)
    apart = Difference(scores.model.value - scores.untrained.value, math.hypot(model, untrained))
    above = Difference(scores.model.value - scores.chance, model)
    rows = [above, Difference(scores.untrained.value - scores.chance, untrained)]
    return _Parts(
        apart,
        above,
        max(apart.p_above(), above.p_above()),
        apart.p_below(),
        max(apart.p_above(-m), apart.p_below(m)),
        1.0,
        min(1.0, min(r.p_above() for r in rows) * len(rows)),
    )


def _deviation(estimate: Estimate) -> float:
    return (estimate.high - estimate.low) / (2 * Z95)


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
