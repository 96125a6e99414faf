"""Steering explorer: a page with sliders that shows the images nearest to a predicted embedding."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equissl.report import display_names as names
from equissl.report.html import save, template
from equissl.report.rows import IMAGE, number
from equissl.storage import parse_json

FILE = "steering.json"
MIN_DIFFERENCE = 0.005  # of mean similarities that counts as different
VERDICTS = ("higher", "equal", "lower")
KINDS = ("rendered", "augmented", "recorded", "")
Data = dict[str, Any]


class InvalidSteering(ValueError):
    """``steering.json`` has an unexpected structure or value."""


@dataclass(frozen=True)
class Steering:
    """Contents of ``steering.json`` of one run.

    Args:
        run: display name of the run.
        explorers: one per module that predicts embeddings; checked numbers, text and inline images only.
        note: why an explorer is missing; "" if none is.
    """

    run: str
    explorers: tuple[Data, ...]
    note: str


@dataclass(frozen=True)
class Summary:
    """Scores of one factor, averaged over all source images and all values but the neutral one.

    Args:
        prediction: mean cosine similarity of the prediction to the truth.
        identity: that of the identity baseline, the source embedding.
        hits_at_1: fraction of values at which the truth is the nearest candidate.
        count: number of values.
    """

    factor: str
    prediction: float
    identity: float
    hits_at_1: float
    count: int


def read_steering(folder: Path, run: str = "") -> Steering | None:
    """Read ``steering.json`` of a run folder; None if there is none."""
    path, name = folder / FILE, run or folder.name
    if not path.is_file():
        return None
    try:
        data = parse_json(path.read_text(encoding="utf-8", errors="replace"))
        explorers = tuple(_explorer(e, name) for e in _list(_dict(data).get("explorers")))
        note = _text(data.get("note", ""))
    except (InvalidSteering, ValueError) as error:
        return Steering(name, (), f"{FILE}: invalid, left out of the report ({error})")
    return Steering(name, explorers, note)


def page_beside(out: Path) -> Path:
    """Path of the explorer of a report: ``report.html`` -> ``report-steering.html``."""
    return out.with_name(f"{out.stem}-steering.html")


def write_steering(
    steered: Sequence[Steering], out: Path, made: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()
) -> Path:
    """Write the page to ``out`` atomically; the same runs give the same bytes.

    Args:
        made: name of each model and (what, value) pairs of what made its numbers.

    Raises:
        ValueError: no run has an explorer.
    """
    explorers = [e for s in steered for e in s.explorers]
    if not explorers:
        raise ValueError("there is nothing to steer")
    context = {
        "explorers": explorers,
        "title": explorers[0]["title"] if len(explorers) == 1 else "",
        "notes": [f"{s.run}: {s.note}" for s in steered if s.note],
        "made": made,
        "summaries": [(e["title"], _sentence(rows), rows) for e in explorers if (rows := summaries(e))],
    }
    return save(template("steering.html.j2").render(context), out)


def steering_of(runs: Sequence[Path], out: Path) -> str | None:
    """Path of the explorer of the report ``out``, or why there is none; None without ``steering.json``."""
    steered = [s for s in map(read_steering, runs) if s is not None]
    if any(s.explorers for s in steered):
        return str(page_beside(out))
    return "; ".join(dict.fromkeys(s.note for s in steered if s.note)) or None


def summaries(explorer: Data) -> list[Summary]:
    """Scores of every factor with a truth, those where the prediction gains most first."""
    columns: dict[str, list[tuple[float, float, int]]] = {}
    for source in explorer["sources"]:
        for sweep in source["sweeps"]:
            if not sweep["kind"]:
                continue
            rows = zip(
                sweep["values"], sweep["similarity"], sweep["identity_similarity"], sweep["rank"], strict=True
            )
            changed = [(s, i, r) for value, s, i, r in rows if value != sweep["neutral_value"]]
            columns.setdefault(sweep["label"], []).extend(changed)
    found = [
        Summary(
            label,
            statistics.fmean(s for s, _, _ in rows),
            statistics.fmean(i for _, i, _ in rows),
            statistics.fmean(r == 1 for _, _, r in rows),
            len(rows),
        )
        for label, rows in columns.items()
        if rows
    ]
    return sorted(found, key=lambda s: s.identity - s.prediction)


def _sentence(rows: Sequence[Summary]) -> str:
    """For which factors the prediction beats the identity baseline, and for which it does not."""
    factors: dict[str, list[str]] = {}
    for row in rows:
        gain = row.prediction - row.identity
        verdict = "higher" if gain > MIN_DIFFERENCE else "lower" if gain < -MIN_DIFFERENCE else "equal"
        factors.setdefault(verdict, []).append(row.factor.lower())
    parts = [f"{verdict} for {names.listed(factors[verdict])}" for verdict in VERDICTS if verdict in factors]
    return (
        "Compared with no prediction, the mean similarity of the prediction to the truth is "
        f"{'; '.join(parts)}."
    )


def _explorer(data: object, run: str) -> Data:
    row = _dict(data)
    bank = _dict(row.get("bank"))
    image = _sprite(bank.get("sprite"))
    size = image["count"]
    labels = [_text(label) for label in _list(bank.get("labels"), size)]
    name = _text(row.get("name"))
    explorer: Data = {
        "title": f"{run} · {name}",
        "bank": {"sprite": image, "labels": labels, "groups": _integers(bank.get("groups"), size)},
        "sources": [_source(s, size) for s in _list(row.get("sources"))],
    }
    order = [summary.factor for summary in summaries(explorer)]
    for source in explorer["sources"]:
        source["sweeps"].sort(key=lambda s: order.index(s["label"]) if s["label"] in order else len(order))
    return explorer


def _source(data: object, size: int) -> Data:
    row = _dict(data)
    own = None if row.get("sprite") is None else _sprite(row["sprite"])
    limit = size + (own["count"] if own else 0)
    position = _integers([row.get("bank")], 1, size)[0]
    sweeps = [_sweep(s, limit, size) for s in _list(row.get("sweeps"))]
    if not sweeps:
        raise InvalidSteering("sweeps is empty")
    return {
        "bank": position,
        "sprite": own,
        "identity_nearest": _integers(row.get("identity_nearest"), None, size),
        "sweeps": sweeps,
    }


def _sweep(data: object, limit: int, size: int) -> Data:
    row = _dict(data)
    values = _numbers(row.get("values"))
    count = len(values)
    kind = _text(row.get("kind", ""))
    if kind not in KINDS or not count:
        raise InvalidSteering(f"a sweep of {count} values of kind {kind!r}")
    name = _text(row.get("name"))
    neutral = _numbers([row.get("neutral_value")], 1)[0]
    if neutral not in values:
        raise InvalidSteering(f"{name}: neutral_value is none of its values")
    nearest = [_integers(r, None, limit) for r in _list(row.get("nearest"), count)]
    similarities = zip(_list(row.get("nearest_similarity"), count), nearest, strict=True)
    clean: Data = {
        "name": name,
        "label": names.label(name),
        "unit": _text(row.get("unit", "")),
        "direction_labels": [_text(e) for e in _list(row.get("direction_labels", ["", ""]), 2)],
        "values": values,
        "neutral_value": neutral,
        "kind": kind,
        "nearest": nearest,
        "nearest_similarity": [_numbers(r, len(n)) for r, n in similarities],
    }
    if "nearest_distance" in row:
        distances = zip(_list(row["nearest_distance"], count), nearest, strict=True)
        clean["nearest_distance"] = [_numbers(r, len(n)) for r, n in distances]
    if kind:
        clean |= {k: _numbers(row.get(k), count) for k in ("similarity", "identity_similarity")}
        clean |= {k: _integers(row.get(k), count) for k in ("rank", "num_candidates")}
        clean["truth"] = _integers(row.get("truth"), count, limit)
    if kind == "recorded":
        clean["truth_distance"] = _numbers(row.get("truth_distance"), count)
    return clean


def _sprite(data: object) -> Data:
    row = _dict(data)
    image = _text(row.get("image"))
    # Anything but an inline raster image could load or run something from elsewhere.
    if not IMAGE.fullmatch(image):
        raise InvalidSteering("an image that is not an inline raster image")
    sizes = ("columns", "rows", "count", "size")
    clean: Data = dict(zip(sizes, _integers([row.get(k) for k in sizes], 4), strict=True))
    if not 1 <= clean["count"] <= clean["columns"] * clean["rows"]:
        raise InvalidSteering("a sprite whose count exceeds its cells")
    return {"image": image, **clean}


def _dict(data: object) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise InvalidSteering(f"expected an object, got {type(data).__name__}")
    return data


def _list(data: object, count: int | None = None) -> list[Any]:
    if not isinstance(data, list) or count not in (None, len(data)):
        raise InvalidSteering(f"expected a list{'' if count is None else f' of {count}'}")
    return data


def _text(data: object) -> str:
    if not isinstance(data, str):
        raise InvalidSteering(f"expected text, got {type(data).__name__}")
    return data


def _numbers(data: object, count: int | None = None) -> list[float]:
    clean = [v for v in map(number, _list(data, count)) if v is not None]
    if len(clean) != len(_list(data)):
        raise InvalidSteering("a number that is not finite")
    return clean


def _integers(data: object, count: int | None, limit: int | None = None) -> list[int]:
    """Integers in [0, ``limit``)."""
    clean = [int(v) for v in _numbers(data, count)]
    if any(v < 0 or (limit is not None and v >= limit) for v in clean):
        raise InvalidSteering("an index out of range")
    return clean
