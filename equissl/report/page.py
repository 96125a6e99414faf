"""The report as one self-contained HTML file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from equissl.report import figures
from equissl.report.audit import compared, section, words
from equissl.report.audit.equivariance import KINDS
from equissl.report.audit.files import write_files
from equissl.report.audit.readings import Audit, audits
from equissl.report.audit.terminal import as_text
from equissl.report.dumbbells import dumbbells, summary_lines
from equissl.report.examples import examples
from equissl.report.findings import Finding, different_sizes, finding
from equissl.report.html import save, template
from equissl.report.models import Model, models
from equissl.report.papers import papers
from equissl.report.rows import LabelledImage, Query, Row, read
from equissl.report.run_summary import notes, provenance, summary, unmeasured, warnings
from equissl.report.steering import Steering, page_beside, read_steering, write_steering
from equissl.report.table import Table, build, without_audits

MAX_IMAGE_CHARACTERS = 1_500_000  # on the page, so that it stays below 3 MB
SHOWN_SEARCHES = 3  # queries with their neighbours that are not folded
MAX_SAMPLES = 4  # whose reconstructions are shown, per model
MAX_JSON_CHARACTERS = 20_000  # of one recipe or environment
MAX_BAD_IMAGES = 50


@dataclass(frozen=True)
class ReconstructedSample:
    """One sample: its views, then each reconstruction beside its target."""

    model: int
    images: tuple[tuple[str, LabelledImage], ...]


@dataclass(frozen=True)
class Search:
    """One query with its nearest neighbours under each model."""

    query: LabelledImage
    results: tuple[tuple[int, tuple[LabelledImage, ...]], ...]  # (index of the model, neighbours)

    def size(self) -> int:
        """Characters of all its images."""
        images = [self.query, *(n for _, neighbours in self.results for n in neighbours)]
        return sum(len(i.image) for i in images)


def comparison(runs: Sequence[Path]) -> Table:
    """The comparison table of some run folders.

    Raises:
        NotARun: one of them is no run.
        ValueError: there are none.
    """
    return build(_models(runs))


def warnings_of(runs: Sequence[Path]) -> list[str]:
    """Reasons to read the numbers of some run folders with care, as the page lists them."""
    compared = _models(runs)
    return [line for model in compared for line in warnings(model)] + unmeasured(compared)


def run_folders(paths: Sequence[Path]) -> list[Path]:
    """The folders, with those of all its models in place of the folder that an audit wrote."""
    found: list[Path] = []
    for path in paths:
        whole = (path / "audit.json").is_file() and not (path / "scores.jsonl").exists()
        found += sorted(p.parent for p in path.glob("*/scores.jsonl")) if whole else [path]
    return found


def write(runs: Sequence[Path], out: Path, paired: Sequence[Row] = ()) -> Path:
    """Write the report of some run folders to ``out``, whole or not at all; the same runs, the same bytes.

    The steering explorer, if a run has one, is a page of its own (``steering.page_beside``).

    Args:
        paired: differences between audits (``evaluate.audit.comparison.paired_rows``).

    Raises:
        NotARun: one of them is no run.
        ValueError: there are none.
    """
    compared = _models(runs)
    steered = steerings(compared)
    beside = page_beside(out).name if any(s.explorers for s in steered) else ""
    if beside:
        write_steering(steered, page_beside(out), made_of(compared))
    return save(render(compared, steered, beside, paired), out)


def write_audits(runs: Sequence[Path], folder: Path, paired: Sequence[Row] = ()) -> list[Path]:
    """Write ``audit.json`` and ``audit.md`` of the audits in some run folders.

    Raises:
        NotARun: one of them is no run.
    """
    return write_files(audits(_models(runs)), folder, paired)


def audit_text(runs: Sequence[Path], width: int = 80, paired: Sequence[Row] = ()) -> str:
    """The audits in some run folders for a terminal; "" if there are none.

    Raises:
        NotARun: one of them is no run.
    """
    return as_text(audits(_models(runs)), width, paired)


def render(
    compared: Sequence[Model],
    steered: Sequence[Steering] = (),
    beside: str = "",
    paired: Sequence[Row] = (),
) -> str:
    """The page for some models.

    Args:
        paired: as of ``write``.
        steered: the ``steering.json`` of their folders.
        beside: file name of the steering explorer, "" if there is none.
    """
    context = _context(compared, paired) | {"steering": quote(beside)}
    context["notes"] += [f"{s.run}: {s.note}." for s in steered if s.note]
    return template("report.html.j2").render(context)


def steerings(compared: Sequence[Model]) -> tuple[Steering, ...]:
    """The ``steering.json`` of some models; the first seed stands for the others."""
    read_all = (read_steering(model.runs[0].folder, model.name) for model in compared)
    return tuple(s for s in read_all if s is not None)


def _models(runs: Sequence[Path]) -> tuple[Model, ...]:
    if not runs:
        raise ValueError("there is no run to report on")
    return models([read(Path(run)) for run in runs])


def _context(compared: Sequence[Model], paired: Sequence[Row] = ()) -> dict[str, Any]:
    table = build(compared)
    audited = audits(compared)
    others = without_audits(table) if audited else table
    audit_only = bool(audited) and not any(run.recipe or run.log for m in compared for run in m.runs)
    shown = section.context(audited, paired)
    lines = [line for group in table.groups for line in group.lines]
    cells = [cell for line in lines for cell in line.cells if cell]
    searches, left_out = _searches(compared)
    runs = list({run.folder: run for m in compared for run in m.runs}.values())
    return {
        **shown,
        "audit_only": audit_only,
        "more_than_audits": any(
            line.name.partition("/")[0] not in KINDS for g in others.groups for line in g.lines
        ),
        "finding": audit_finding(audited, shown, table)
        if audit_only
        else finding(table, _paired_claim(audited, shown)),
        "table": table,
        "baselines": {c.baseline for c in table.columns if c.baseline},
        "counts": sorted({c.count for c in cells if c.count}),
        "has_seeds": any(c.std is not None for c in cells),
        "has_ranges": any(c.between is not None for c in cells),
        "has_winners": any(line.winner is not None for line in lines),
        "models": compared,
        "examples": examples(runs),
        "chart": (chart := dumbbells(table)),
        "has_lost": any(dot.tone == "bad" for _, rows in chart for row in rows for dot in row.dots),
        "scored_models": [column.index for column in table.columns if column.kind == "model"],
        "main_lines": summary_lines(table),
        "main_columns": [i for i, c in enumerate(table.columns) if c.baseline in ("", "random")],
        "logged": [index for index, m in enumerate(compared) if any(run.log for run in m.runs)],
        "curves": [figures.curves(compared, shape) for shape in figures.SHAPES],
        "curves_left_out": figures.curves_left_out(compared),
        "samples": _samples(compared),
        "searches": searches,
        "shown_searches": SHOWN_SEARCHES,
        "left_out": left_out,
        "search_notes": list(dict.fromkeys(run.neighbours_note for run in runs if run.neighbours_note)),
        "settings": [(k, pairs) for k, m in enumerate(compared) if len(pairs := summary(m)) > 1],
        "made": made_of(compared),
        "json": [(r.folder.name, _json(r.recipe), _json(r.environment)) for r in runs],
        "warnings": [*(w for m in compared for w in warnings(m)), *unmeasured(compared)],
        "notes": [n for m in compared for n in notes(m)],
        "bad_images": [
            (run.folder.name, run.bad_images[:MAX_BAD_IMAGES], len(run.bad_images))
            for run in runs
            if run.bad_images
        ],
        "papers": papers(runs),
    }


def made_of(compared: Sequence[Model]) -> list[tuple[str, list[tuple[str, str]]]]:
    """What made the numbers, as far as the folders tell: what is common to all models, then each by name."""
    every = {model.name: provenance(model) for model in compared}
    common = [pair for pair in next(iter(every.values())) if all(pair in pairs for pairs in every.values())]
    if len(every) == 1:
        common = []
    rest = [(name, [pair for pair in pairs if pair not in common]) for name, pairs in every.items()]
    return [(name, pairs) for name, pairs in [("", common), *rest] if pairs]


def audit_finding(audited: Sequence[Audit], shown: Mapping[str, Any], table: Table) -> Finding:
    """The finding of a page of audits; warnings of few images and missing verdicts stand above it already."""
    return Finding(audit_headline(audited, shown), conditions=tuple(different_sizes(table)))


def _paired_claim(audited: Sequence[Audit], shown: Mapping[str, Any]) -> str:
    """How audits of the same images differ; "" if they do not clearly."""
    decided = {row["word"] for pair in shown["comparisons"] for row in pair["rows"]} & {"more", "less"}
    return audit_headline(audited, shown) if decided else ""


def audit_headline(audited: Sequence[Audit], shown: Mapping[str, Any]) -> str:
    """The one claim of a page of audits: what one encoder keeps, or how two or more of them differ."""
    if len(audited) == 1:
        return words.claim(audited[0])
    if pairs := shown["comparisons"]:
        claim = pairs[0]["claim"]
        if len(pairs) == math.comb(len(audited), 2) > 1:
            named = [(p["first"].name, p["second"].name, p["rows"]) for p in pairs]
            claim = compared.leaders(named, len(audited))
        return f"On the same {pairs[0]['first'].images} images, {claim}."
    return f"{len(audited)} audits; they are of different images, so that differences are not paired."


def _samples(compared: Sequence[Model]) -> list[ReconstructedSample]:
    """The reconstructions of the first samples by each model, the first seed standing for the others."""
    samples = []
    for index, model in enumerate(compared):
        run = model.runs[0]
        lists = [p for r in run.reconstructions for p in (r.reconstructed, r.target)]
        for k in range(min([MAX_SAMPLES, *map(len, lists)] if lists else [0])):
            images = [(f"view {n}", p[k]) for n, p in run.views.items() if k < len(p)]
            for r in run.reconstructions:
                images += [(f"{r.view}, reconstructed by {r.module}", r.reconstructed[k])]
                images += [(f"{r.view}, target", r.target[k])]
            samples.append(ReconstructedSample(index, tuple(images)))
    return samples


def _searches(compared: Sequence[Model]) -> tuple[list[Search], int]:
    """Queries matched between models, as many as there is room for, and how many there was none for."""
    by_image: dict[str, list[tuple[int, Query]]] = {}
    for index, model in enumerate(compared):
        for query in model.runs[0].queries:  # the first seed stands for the others
            by_image.setdefault(query.image.image, []).append((index, query))
    searches: list[Search] = []
    room = MAX_IMAGE_CHARACTERS
    for hits in by_image.values():
        search = Search(hits[0][1].image, tuple((index, query.neighbours) for index, query in hits))
        room -= search.size()
        if room < 0:
            break
        searches.append(search)
    return searches, len(by_image) - len(searches)


def _json(data: Mapping[str, object]) -> str:
    text = json.dumps(data, indent=2, ensure_ascii=False) if data else ""
    return text if len(text) <= MAX_JSON_CHARACTERS else text[:MAX_JSON_CHARACTERS] + "\n…"
