"""The word that stands beside a score of a factor: the verdict of whoever measured it, with its extent."""

from __future__ import annotations

from collections.abc import Sequence

from equissl.report.audit.readings import share
from equissl.report.audit.words import extent
from equissl.report.rows import Measure, number, text

KEPT = ("kept", "partly kept")  # what headlines claim and marks stand for; slightly kept is neither
SLIGHTLY = "slightly kept"
READ_AT_LEAST = (SLIGHTLY, "as image statistics")  # not surely more than without training, nor less
LOST = ("lost", "partly lost")
READABLE = ("R2", "balanced accuracy")  # units in which a constant's score says that nothing is read


def word(rows: Sequence[Measure], value: float, chance: float) -> str:
    """What the rows of one score, one per seed, say of a factor; "" for nothing.

    Seeds whose verdicts differ leave it undecided. Without any verdict, as where no untrained network was
    measured, only a score that is not above chance says something: "not readable".

    Args:
        value: the score, the mean over seeds.
        chance: the score of a constant.
    """
    verdicts = {text(row.extra.get("verdict")) for row in rows}
    if verdicts == {""}:
        known = all(row.unit in READABLE for row in rows)
        return "not readable" if known and value <= chance else ""
    if len(verdicts) > 1:
        return "undecided"
    ceilings = [c for row in rows if (c := number(row.extra.get("ceiling"))) is not None]
    return extent(verdicts.pop(), share(value, min(chance, 0.99), max(ceilings, default=None)))
