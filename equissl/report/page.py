"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from equissl.report import citations, figures
from equissl.report import findings as claims
from equissl.report import run_summary as facts
from equissl.report.html import save, template
from equissl.report.models import Model, models
from equissl.report.rows import Image, Query, read
from equissl.report.steering import Steering, page_beside, read_steering, write_steering
from equissl.report.table import Table, build

IMAGES = 1_500_000  # characters of images on the page, so that it stays below 3 MB
DRAWN = 4  # samples whose reconstructions are shown per model
PLAIN = 20_000  # characters of one recipe or environment shown
BAD_SHOWN = 50


@dataclass(frozen=True)
class Gallery:
    """One sample: the views a model saw, then each drawing and beside it what it should be."""

    place: int
    cards: tuple[tuple[str, Image], ...]


@dataclass(frozen=True)
class Search:
    """One query and what each model found for it."""

    image: Image
    found: tuple[tuple[int, tuple[Image, ...]], ...]  # (place of the model, neighbours)

    def size(self) -> int:
        shown = [self.image, *(n for _, near in self.found for n in near)]
        return sum(len(p.image) for p in shown)


def comparison(runs: Sequence[Path]) -> Table:
    """The comparison table of some run folders.

    Raises:
        NotARun: one of them is no run.
        ValueError: there are none.
    """
    return build(_models(runs))


def write(runs: Sequence[Path], out: Path) -> Path:
    """Write the report of some run folders to ``out``, whole or not at all; the same runs, the same bytes.

    The steering explorer, if a run has one, is a page of its own (``steering.page_beside``).

    Raises:
        NotARun: one of them is no run.
        ValueError: there are none.
    """
    found = _models(runs)
    steered = steerings(found)
    beside = page_beside(out).name if any(s.explorers for s in steered) else ""
    if beside:
        write_steering(steered, page_beside(out))
    return save(render(found, steered, beside), out)


def render(found: Sequence[Model], steered: Sequence[Steering] = (), beside: str = "") -> str:
    """The page for some models.

    Args:
        steered: what their folders say of steering.
        beside: file name of the steering explorer, "" if there is none.
    """
    notes = [f"{s.run}: {s.note}." for s in steered if s.note]
    context = _context(found) | {"steering": quote(beside), "steering_notes": notes}
    return template("report.html.j2").render(context)


def steerings(found: Sequence[Model]) -> tuple[Steering, ...]:
    """What the folders of some models say of steering; the first seed stands for the others."""
    read_all = (read_steering(model.runs[0].folder, model.name) for model in found)
    return tuple(s for s in read_all if s is not None)


def _models(runs: Sequence[Path]) -> tuple[Model, ...]:
    if not runs:
        raise ValueError("there is no run to report on")
    return models([read(Path(run)) for run in runs])


def _context(found: Sequence[Model]) -> dict[str, Any]:
    table = build(found)
    searches, left_out = _searches(found)
    runs = list({run.folder: run for m in found for run in m.runs}.values())
    measures = [line.name for group in table.groups for line in group.lines]
    return {
        "headline": claims.headline(table),
        "table": table,
        "kinds": {c.baseline for c in table.columns if c.baseline},
        "counts": sorted(
            {c.count for g in table.groups for line in g.lines for c in line.cells if c and c.count}
        ),
        "several": any(
            c and c.spread is not None for g in table.groups for line in g.lines for c in line.cells
        ),
        "winners": any(line.winner is not None for g in table.groups for line in g.lines),
        "models": found,
        "scored": [column.place for column in table.columns if column.kind == "model"],
        "logged": [place for place, m in enumerate(found) if any(run.log for run in m.runs)],
        "bars": [figures.factor_bars(table, shape) for shape in figures.SHAPES],
        "curves": [figures.curves(found, shape) for shape in figures.SHAPES],
        "galleries": _galleries(found),
        "searches": searches,
        "left_out": left_out,
        "search_notes": list(dict.fromkeys(run.neighbours_note for run in runs if run.neighbours_note)),
        "facts": [facts.facts(model) for model in found],
        "plain": [(r.folder.name, _plain(r.recipe), _plain(r.environment)) for r in runs],
        "warnings": [w for m in found for w in facts.warnings(m)],
        "notes": [n for m in found for n in facts.notes(m)],
        "bad_images": [(run.folder.name, run.bad_images[:BAD_SHOWN], len(run.bad_images)) for run in runs],
        "papers": citations.papers([run.recipe for run in runs], measures),
    }


def _galleries(found: Sequence[Model]) -> list[Gallery]:
    """What each model drew of every sample, the first seed standing for the others."""
    shown = []
    for place, model in enumerate(found):
        run = model.runs[0]
        count = min((len(p) for d in run.drawings for p in (d.drawn, d.target)), default=0)
        for sample in range(min(count, DRAWN)):
            cards = [(f"view {n}", p[sample]) for n, p in run.seen.items() if sample < len(p)]
            for d in run.drawings:
                cards += [(f"{d.view}, drawn by {d.module}", d.drawn[sample]), (d.view, d.target[sample])]
            shown.append(Gallery(place, tuple(cards)))
    return shown


def _searches(found: Sequence[Model]) -> tuple[list[Search], int]:
    """Queries matched between models, as many as there is room for, and how many there was none for."""
    by_image: dict[str, list[tuple[int, Query]]] = {}
    for place, model in enumerate(found):
        for query in model.runs[0].queries:  # the first seed stands for the others
            by_image.setdefault(query.image.image, []).append((place, query))
    shown: list[Search] = []
    room = IMAGES
    for hits in by_image.values():
        search = Search(hits[0][1].image, tuple((place, query.neighbours) for place, query in hits))
        room -= search.size()
        if room < 0:
            break
        shown.append(search)
    return shown, len(by_image) - len(shown)


def _plain(data: Mapping[str, object]) -> str:
    shown = json.dumps(data, indent=2, ensure_ascii=False) if data else ""
    return shown if len(shown) <= PLAIN else shown[:PLAIN] + "\n…"
