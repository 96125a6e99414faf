"""Equivariance in words: one sentence for each change of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from equissl.evaluate.base import Score
from equissl.evaluate.titles import title

NOT_LINEAR = 0.95  # of the best trivial map's error: what is above is no better than it


def map_sentences(scores: Sequence[Score]) -> list[str]:
    """What linear maps leave of each change, and whether two of them make up a third."""
    shown = [s for s in scores if s.part == "all"]
    own = {s.name: s for s in shown if not s.baseline}
    baselines: dict[str, dict[str, Score]] = {}
    for s in shown:
        if s.baseline:
            baselines.setdefault(s.name, {})[s.baseline] = s
    changes = [name.partition("/")[2] for name in own if name.startswith("moved/")]
    return [_sentence(change, own, baselines) for change in changes]


def _sentence(change: str, own: Mapping[str, Score], baselines: Mapping[str, Mapping[str, Score]]) -> str:
    name, moved = title(change), own[f"moved/{change}"].value
    name = name[:1].lower() + name[1:]
    error = own.get(f"map/{change}")
    if error is None:
        return f"{name}: features do not move"
    rows = baselines.get(error.name, {})
    trivial = min((rows[b].value for b in ("identity", "shift", "constant") if b in rows), default=1.0)
    parts = [f"a linear map leaves {_number(error)} of the change"]
    if trivial < 0.95:
        parts[0] += f" ({trivial:.2f} without one)"
    if error.value > NOT_LINEAR * trivial:
        parts = ["no linear map of the features does better than none"]
    if "verdict" in error.extra and "random" in rows:
        parts.append(f"{error.extra['verdict']} networks ({rows['random'].value:.2f})")
    if "pixels" in rows:
        parts.append(f"pixels {rows['pixels'].value:.2f}")
    for other in own.values():
        first, _, second = other.name.removeprefix("product/").partition("+")
        if other.name.startswith("product/") and first == change and error.value <= NOT_LINEAR * trivial:
            parts.append(f"followed by {title(second).lower()} {_number(other)} from {_result(other)}")
    return f"{name}: features move by {moved:.2f}; " + ", ".join(parts)


def _result(score: Score) -> str:
    product = str(score.extra.get("product", ""))
    return "no change" if product == "unchanged" else title(product).lower()


def _number(score: Score) -> str:
    interval = "" if score.low is None or score.high is None else f" [{score.low:.2f}, {score.high:.2f}]"
    return f"{score.value:.2f}{interval}"
