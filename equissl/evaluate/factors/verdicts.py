"""Verdicts on factors that are read from single images: kept, lost or neither, by the rule of the audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from equissl.evaluate.audit.verdict import Estimates, Verdict, estimated_verdicts
from equissl.evaluate.base import Score
from equissl.evaluate.statistics import Estimate
from equissl.evaluate.titles import FACTORS, FAMILIES, RELATIVE

JUDGED = (FACTORS, RELATIVE, FAMILIES)


def with_verdicts(scores: Sequence[Score], untrained: Sequence[Score]) -> list[Score]:
    """The scores, with ``extra["verdict"]`` (a word of ``audit.verdict``) and "to_untrained" for factors.

    Factors under one heading are one family of hypotheses. What has no interval, or was not measured of
    the untrained network, gets no verdict.

    Args:
        untrained: of one network of the same kind with random weights, on the same images.
    """
    beside = {s.name: s for s in untrained if not s.baseline and s.part == "all"}
    chance = {s.name: s.value for s in scores if s.baseline == "constant" and s.part == "all"}
    found: dict[str, Verdict] = {}
    for heading in JUDGED:
        pairs = [
            (s, beside[s.name]) for s in scores if s.group == heading and _is_own(s) and s.name in beside
        ]
        found |= estimated_verdicts(
            {
                s.name: Estimates(a, b, max(chance.get(s.name, 0.0), 0.0), s.unit == "R2")
                for s, other in pairs
                if (a := _estimate(s)) and (b := _estimate(other))
            }
        )

    def judged(score: Score) -> Score:
        if not _is_own(score) or score.name not in found:
            return score
        verdict = found[score.name]
        apart = verdict.to_untrained.interval()
        added = {"verdict": verdict.word, "to_untrained": [apart.value, apart.low, apart.high]}
        return replace(score, extra={**score.extra, **added})

    return [judged(s) for s in scores]


def _is_own(score: Score) -> bool:
    return not score.baseline and score.part == "all" and score.higher_is_better is True


def _estimate(score: Score) -> Estimate | None:
    if score.low is None or score.high is None:
        return None
    return Estimate(score.value, score.low, score.high)
