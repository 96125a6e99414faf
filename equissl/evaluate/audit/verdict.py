"""The rule by which the audit says that a factor is kept or lost: paired differences, Holm over factors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from equissl.evaluate.audit.differences import (
    Difference,
    Evidence,
    Times,
    common_spread,
    difference,
    holm,
    to_untrained,
)
from equissl.evaluate.statistics import Z95, Estimate

Word = Literal["kept", "as untrained", "as image statistics", "lost", "not readable", "undecided"]
MARGIN = 0.05  # of R2; half of it for accuracies, which span half as much between chance and 1
OPEN: tuple[Word, ...] = ("not readable", "undecided")
# What may decide a factor, from what costs least.
DECIDING = (Times(2), Times(2, 2), Times(4), Times(4, 2), Times(8), Times(8, 2), Times(16, 4))


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
class Verdict:
    """What the audit says of one factor.

    Args:
        to_untrained: the model's score minus the mean of the untrained networks of the nearest family.
        to_statistics: minus that of statistics of the images.
    """

    word: Word
    to_untrained: Difference
    to_statistics: Difference


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
    return _verdicts(factors, margin, Times())


def deciding(factors: Mapping[str, Evidence], margin: float = MARGIN) -> dict[str, Times]:
    """Of each open factor the least of ``DECIDING`` that would decide it if all scores stayed as they are.

    Factors that none of them would decide are left out, as are those that are decided.
    """
    still = {n for n, v in verdicts(factors, margin).items() if v.word in OPEN}
    found: dict[str, Times] = {}
    for times in DECIDING if still else ():
        later = _verdicts(factors, margin, times)
        found |= {n: times for n in still - set(found) if later[n].word not in OPEN}
    return found


def _verdicts(factors: Mapping[str, Evidence], margin: float, times: Times) -> dict[str, Verdict]:
    kinds = {kind: [e for e in factors.values() if e.model.regress == kind] for kind in (True, False)}
    common = {kind: common_spread(of) for kind, of in kinds.items()}
    return _words({n: _parts(e, margin, common[e.model.regress], times) for n, e in factors.items()})


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


def _parts(evidence: Evidence, margin: float, common: tuple[float, int], times: Times) -> _Parts:
    m = margin if evidence.model.regress else margin / 2
    families, tested = (to_untrained(evidence, common, one, times) for one in (False, True))
    to_statistics = difference(evidence.model, [evidence.statistics], times=times)
    not_below = min(d.p_above(-m) for d in families)
    not_above = min(d.p_below(m) for d in families)
    networks = [o for family in evidence.untrained for o in family]
    rows = [evidence.model, *networks, evidence.statistics, *evidence.others]
    deviations = [math.sqrt(r.variance() / times.images) for r in rows]
    above = [Difference(r.value, d).p_above(evidence.chance) for r, d in zip(rows, deviations, strict=True)]
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
