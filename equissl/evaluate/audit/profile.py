"""An audit of several layers or parts in words: where in a network a factor is lost."""

from __future__ import annotations

from collections.abc import Sequence

from equissl.evaluate.base import Score


def profile(scores: Sequence[Score]) -> list[str]:
    """One line for each factor: its score in every part, in the order of the parts, and in the output.

    Empty if the features have no parts. A value is marked where its interval lies below that of the part with
    the highest score.
    """
    own = [s for s in scores if s.name.startswith("audit/") and not s.baseline]
    names = list(dict.fromkeys(s.part for s in own))
    if len(names) < 2:
        return []
    order = [*(n for n in names if n != "all"), "all"]
    lines = []
    for name in dict.fromkeys(s.name for s in own):
        by_part = {s.part: s for s in own if s.name == name}
        best = max(by_part.values(), key=lambda s: s.value)
        values = [_value(part, by_part[part], best) for part in order if part in by_part]
        title = best.title[:1].lower() + best.title[1:]
        lines.append(f"{title} ({'R²' if best.unit == 'R2' else best.unit}): {', '.join(values)}")
    return lines


def _value(part: str, score: Score, best: Score) -> str:
    below = score.high is not None and best.low is not None and score.high < best.low
    return f"{'output' if part == 'all' else part} {score.value:.2f}{' (less)' if below else ''}"
