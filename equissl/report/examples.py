"""``examples.json`` of runs: some images of the data, and one image under each augmentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from equissl.report.rows import IMAGE, Run, text
from equissl.storage import parse_json

FILE = "examples.json"


@dataclass(frozen=True)
class ExampleImages:
    """A data set or an augmentation with one sentence, and images as data URIs.

    Args:
        images: some of the data; or one before and after the augmentation.
    """

    title: str
    about: str
    images: tuple[str, ...]


def examples(runs: Iterable[Run]) -> tuple[ExampleImages, ...]:
    """The data of some runs, each once, then their augmentations; a damaged file shows nothing."""
    found = [_read(run.folder / FILE) for run in runs]
    data = {e.title: e for of_data, _ in found for e in of_data}
    augmentations = {e.title: e for _, others in found for e in others}
    return (*data.values(), *augmentations.values())


def _read(path: Path) -> tuple[list[ExampleImages], list[ExampleImages]]:
    if not path.is_file():
        return [], []
    try:
        content = parse_json(path.read_text(encoding="utf-8", errors="replace"))
    except ValueError:
        content = None
    content = content if isinstance(content, Mapping) else {}
    data, others = content.get("data"), content.get("augmentations")
    rows = [r for r in others if isinstance(r, Mapping)] if isinstance(others, list) else []
    named = data if isinstance(data, Mapping) else {}
    shown = named.get("images")
    of_data = _example(named, shown if isinstance(shown, list) else [])
    changes = [_example(row, [row.get("original"), row.get("changed")]) for row in rows]
    return [of_data] if of_data else [], [c for c in changes if c and len(c.images) == 2]


def _example(row: Mapping[str, object], uris: list[object]) -> ExampleImages | None:
    # Anything but an inline raster image could load or run something from elsewhere.
    images = tuple(uri for uri in map(text, uris) if IMAGE.fullmatch(uri))
    return ExampleImages(text(row.get("title")), text(row.get("about")), images) if images else None
