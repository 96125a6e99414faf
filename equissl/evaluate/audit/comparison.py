"""Two encoders compared by what their audits kept: paired differences, Holm over factors."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from equissl.evaluate.audit.differences import Difference, difference, holm
from equissl.evaluate.audit.readouts.predictions import FILE, Predictions, read_predictions, same_images
from equissl.evaluate.audit.verdict import MARGIN

Word = Literal["more", "less", "alike", "undecided"]


@dataclass(frozen=True)
class Comparison:
    """One factor as two encoders hold it.

    Args:
        word: whether the first encoder's score is above the other's, below it, within the margin, or none
            of these for sure, at a family-wise level of 5 % over the factors.
        difference: the first encoder's score minus the other's.
    """

    word: Word
    difference: Difference


def compare(model: Predictions, other: Predictions, margin: float = MARGIN) -> dict[str, Comparison]:
    """Each factor that both audits read, by the rule of the verdicts (``differences.difference``).

    Raises:
        ValueError: they are of other images or of another seed (``predictions.same_images``).
    """
    if not same_images((model, other)):
        raise ValueError("the audits are of other images or of another seed")
    shared = [n for n in model.scores if n in other.scores]
    found = {n: difference(model.scores[n], [other.scores[n]]) for n in shared}
    margins = {n: margin if model.scores[n].regress else margin / 2 for n in shared}
    more = holm({n: d.p_above() for n, d in found.items()})
    less = holm({n: d.p_below() for n, d in found.items()})
    alike = holm({n: max(d.p_above(-margins[n]), d.p_below(margins[n])) for n, d in found.items()})
    words: dict[Word, dict[str, bool]] = {"more": more, "less": less, "alike": alike}
    return {
        n: Comparison(next((w for w, holds in words.items() if holds[n]), "undecided"), d)
        for n, d in found.items()
    }


def paired_rows(folders: Sequence[Path]) -> list[dict[str, object]]:
    """Paired differences between the audits in some folders, as plain rows for ``report.write``.

    Folders without predictions, and pairs whose images differ, give no row.

    Raises:
        UserError: a file of predictions is damaged.
    """
    kept = [(f, read_predictions(f / FILE)) for f in folders if (f / FILE).exists()]
    return [row for a, b in itertools.combinations(kept, 2) for row in _rows(*a, *b)]


def _rows(
    folder: Path, model: Predictions, other_folder: Path, other: Predictions
) -> Iterator[dict[str, object]]:
    if not same_images((model, other)):
        return
    for name, comparison in compare(model, other).items():
        interval = comparison.difference.interval()
        yield {
            "name": f"audit/{name}",
            "folder": str(folder),
            "other": str(other_folder),
            "value": interval.value,
            "low": interval.low,
            "high": interval.high,
            "word": comparison.word,
        }
