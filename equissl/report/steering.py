"""The steering explorer: a page on which one moves a slider and sees where a model says the features go."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equissl.report import display_names as names
from equissl.report.html import save, template
from equissl.report.rows import IMAGE, number

FILE = "steering.json"
ALIKE = 0.005  # a difference of mean similarities that is none
SIDES = ("nearer to the truth", "as near", "less near")
KINDS = ("drawn", "augmented", "recorded", "")
Plain = dict[str, Any]


class Damaged(ValueError):
    """The file does not hold what an evaluation writes."""


@dataclass(frozen=True)
class Steering:
    """What one run folder offers.

    Args:
        run: what to call it.
        explorers: plain data, one per module that predicts; nothing in them but checked numbers, text and
            inline images.
        note: why there is no explorer, or one is missing; "" if there is nothing to say.
    """

    run: str
    explorers: tuple[Plain, ...]
    note: str


@dataclass(frozen=True)
class Summary:
    """One slider over all images and all positions but the resting one.

    Args:
        moved, still: mean similarity with the truth of the prediction, and of an embedding that stays.
        first: share of positions at which no other image is more like the prediction than the truth.
        count: positions.
    """

    slider: str
    moved: float
    still: float
    first: float
    count: int


def read_steering(folder: Path, run: str = "") -> Steering | None:
    """What a run folder says of steering; None if it was never asked."""
    path, name = folder / FILE, run or folder.name
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8", errors="replace"))
        explorers = tuple(_explorer(e, name) for e in _list(_dict(found).get("explorers")))
        note = _text(found.get("note", ""))
    except (Damaged, json.JSONDecodeError, RecursionError) as error:
        return Steering(name, (), f"{FILE} could not be used and was left out ({error})")
    return Steering(name, explorers, note)


def page_beside(out: Path) -> Path:
    """Where the explorer of a report stands: ``report.html`` -> ``report-steering.html``."""
    return out.with_name(f"{out.stem}-steering.html")


def write_steering(found: Sequence[Steering], out: Path) -> Path:
    """Write the page to ``out``, whole or not at all; the same runs, the same bytes.

    Raises:
        ValueError: there is no explorer.
    """
    explorers = [e for s in found for e in s.explorers]
    if not explorers:
        raise ValueError("there is nothing to steer")
    context = {
        "explorers": explorers,
        "title": explorers[0]["title"] if len(explorers) == 1 else "",
        "notes": [f"{s.run}: {s.note}" for s in found if s.note],
        "summaries": [(e["title"], _sentence(rows), rows) for e in explorers if (rows := summaries(e))],
    }
    return save(template("steering.html.j2").render(context), out)


def steering_of(runs: Sequence[Path], out: Path) -> str | None:
    """What to say of steering to someone who had the report ``out`` written; None if there is nothing."""
    found = [s for s in map(read_steering, runs) if s is not None]
    if any(s.explorers for s in found):
        return str(page_beside(out))
    return "; ".join(dict.fromkeys(s.note for s in found if s.note)) or None


def summaries(explorer: Plain) -> list[Summary]:
    """Every slider whose truth is known, in the order of the page."""
    columns: dict[str, list[tuple[float, float, int]]] = {}
    for source in explorer["sources"]:
        for slide in source["slides"]:
            if not slide["kind"]:
                continue
            rows = zip(slide["values"], slide["similarity"], slide["still"], slide["rank"], strict=True)
            moved = [(s, n, r) for value, s, n, r in rows if value != slide["rest"]]
            columns.setdefault(slide["label"], []).extend(moved)
    return [
        Summary(
            label,
            statistics.fmean(s for s, _, _ in rows),
            statistics.fmean(n for _, n, _ in rows),
            statistics.fmean(r == 1 for _, _, r in rows),
            len(rows),
        )
        for label, rows in columns.items()
        if rows
    ]


def _sentence(rows: Sequence[Summary]) -> str:
    """For which sliders the prediction beats an embedding that stays, and for which it does not."""
    sides: dict[str, list[str]] = {}
    for row in rows:
        gain = row.moved - row.still
        side = "nearer to the truth" if gain > ALIKE else "less near" if gain < -ALIKE else "as near"
        sides.setdefault(side, []).append(row.slider.lower())
    said = [f"{side} for {names.listed(sides[side])}" for side in SIDES if side in sides]
    return f"Compared with an embedding that stays, the prediction comes on average {'; '.join(said)}."


def _explorer(found: object, run: str) -> Plain:
    row = _dict(found)
    bank = _dict(row.get("bank"))
    image = _sprite(bank.get("sprite"))
    size = image["count"]
    labels = [_text(label) for label in _list(bank.get("labels"), size)]
    name = _text(row.get("name"))
    return {
        "title": f"{run} · {name}",
        "bank": {"sprite": image, "labels": labels, "groups": _whole(bank.get("groups"), size)},
        "sources": [_source(s, size) for s in _list(row.get("sources"))],
    }


def _source(found: object, size: int) -> Plain:
    row = _dict(found)
    own = None if row.get("sprite") is None else _sprite(row["sprite"])
    limit = size + (own["count"] if own else 0)
    place = _whole([row.get("bank")], 1, size)[0]
    slides = [_slide(s, limit, size) for s in _list(row.get("slides"))]
    if not slides:
        raise Damaged("an image without sliders")
    return {
        "bank": place,
        "sprite": own,
        "still": _whole(row.get("still"), None, size),
        "slides": slides,
    }


def _slide(found: object, limit: int, size: int) -> Plain:
    row = _dict(found)
    values = _numbers(row.get("values"))
    count = len(values)
    kind = _text(row.get("kind", ""))
    if kind not in KINDS or not count:
        raise Damaged(f"a slider of {count} positions whose truth is {kind!r}")
    name = _text(row.get("name"))
    rest = _numbers([row.get("rest")], 1)[0]
    if rest not in values:
        raise Damaged(f"{name} has no resting position")
    nearest = [_whole(r, None, limit) for r in _list(row.get("nearest"), count)]
    near = [_numbers(r, len(n)) for r, n in zip(_list(row.get("near"), count), nearest, strict=True)]
    clean: Plain = {
        "name": name,
        "label": names.label(name),
        "unit": _text(row.get("unit", "")),
        "ends": [_text(e) for e in _list(row.get("ends", ["", ""]), 2)],
        "values": values,
        "rest": rest,
        "kind": kind,
        "nearest": nearest,
        "near": near,
    }
    if "off" in row:
        clean["off"] = [_numbers(r, len(n)) for r, n in zip(_list(row["off"], count), nearest, strict=True)]
    if kind:
        clean |= {k: _numbers(row.get(k), count) for k in ("similarity", "still")}
        clean |= {k: _whole(row.get(k), count) for k in ("rank", "among")}
        clean["truth"] = _whole(row.get("truth"), count, limit)
    if kind == "recorded":
        clean["truth_off"] = _numbers(row.get("truth_off"), count)
    return clean


def _sprite(found: object) -> Plain:
    row = _dict(found)
    image = _text(row.get("image"))
    # Anything but an inline raster image could load or run something from elsewhere.
    if not IMAGE.fullmatch(image):
        raise Damaged("an image that is not inline")
    sizes = ("columns", "rows", "count", "size")
    clean: Plain = dict(zip(sizes, _whole([row.get(k) for k in sizes], 4), strict=True))
    if not 1 <= clean["count"] <= clean["columns"] * clean["rows"]:
        raise Damaged("a sheet of images with impossible sides")
    return {"image": image, **clean}


def _dict(found: object) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise Damaged(f"expected an object, got {type(found).__name__}")
    return found


def _list(found: object, count: int | None = None) -> list[Any]:
    if not isinstance(found, list) or count not in (None, len(found)):
        raise Damaged(f"expected a list{'' if count is None else f' of {count}'}")
    return found


def _text(found: object) -> str:
    if not isinstance(found, str):
        raise Damaged(f"expected text, got {type(found).__name__}")
    return found


def _numbers(found: object, count: int | None = None) -> list[float]:
    clean = [v for v in map(number, _list(found, count)) if v is not None]
    if len(clean) != len(_list(found)):
        raise Damaged("a number that is not finite")
    return clean


def _whole(found: object, count: int | None, limit: int | None = None) -> list[int]:
    """Whole numbers from 0, below ``limit``."""
    clean = [int(v) for v in _numbers(found, count)]
    if any(v < 0 or (limit is not None and v >= limit) for v in clean):
        raise Damaged("a number that points nowhere")
    return clean
