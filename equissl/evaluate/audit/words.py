"""An audit in words: one sentence for each factor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from equissl.evaluate.base import Score

FEW_IMAGES = 200  # below which flips scored significantly below chance


def sentences(scores: Sequence[Score]) -> list[str]:
    """What an audit found, one sentence for each factor; first a warning where images are few."""
    scores = [s for s in scores if s.part == "all"]
    rows = [s for s in scores if s.name.startswith("audit/") and not s.baseline]
    found = [_sentence(s, {b.baseline: b for b in scores if b.name == s.name and b.baseline}) for s in rows]
    distinct = min((_number(s.extra.get("distinct")) for s in rows), default=FEW_IMAGES)
    if distinct < FEW_IMAGES:
        found.insert(0, f"only {distinct:.0f} different images: below {FEW_IMAGES}, scores say little")
    return found


def _sentence(score: Score, baselines: Mapping[str, Score]) -> str:
    measure = "R²" if score.unit == "R2" else score.unit
    chance = baselines["constant"].value if "constant" in baselines else 0.0
    name = score.title[:1].lower() + score.title[1:]
    verdict = str(score.extra.get("verdict", ""))
    if verdict == "not readable" or (not verdict and score.value <= chance):
        return f"{name}: not readable from these images"
    parts = [f"{measure} {_interval(score.value, score.low, score.high)}"]
    random = baselines.get("random")
    each = random.extra.get("each") if random else None
    count = len(each) if isinstance(each, Sequence) else 0
    for key, what in (
        ("to_untrained", f"{count} untrained networks of its kind"),
        ("to_statistics", "statistics of the images"),
    ):
        if isinstance(values := score.extra.get(key), Sequence):
            value, low, high = (_number(v) for v in values)
            size = (
                _interval(abs(value), *sorted((abs(low), abs(high))))
                if low * high > 0
                else f"{abs(value):.2f}"
            )
            clearly = low * high > 0
            word = "more" if value > 0 else "less"
            parts.append(f"{size} {word} than {what}" if clearly else f"not clearly other than {what}")
    if verdict == "as image statistics":
        verdict = "no more than image statistics"
    said = f"{name}: {verdict + ': ' if verdict else ''}{', '.join(parts)}"
    return said + _probe(score)


def _probe(score: Score) -> str:
    probes = score.extra.get("probes")
    if not isinstance(probes, Mapping) or score.value < 0.1:
        return ""
    linear, best = (_number(v) for v in (probes.get("linear"), max(probes.values(), default=0.0)))
    if linear > 0.9 * best:
        return "; a linear probe suffices"
    return f"; a linear probe reads {linear:.2f}" if linear > 0.1 else "; a linear probe reads nothing of it"


def _interval(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
