"""Definition of a study: cells (recipes with labels), measures, layout of the table and the figure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from equissl.config.overrides import override
from equissl.config.serialize import to_dict
from equissl.config.validation import Checked, check_bounds
from equissl.errors import UserError
from equissl.evaluate.base import Downstream
from equissl.params import Space
from equissl.recipe import Recipe, check_views
from equissl.views import ViewSpec


@dataclass(frozen=True)
class Cell(Checked):
    """One configuration of a study, trained once per seed.

    Args:
        labels: its values of the varied settings, ``{"base": "simclr", "module": "equimod"}``; every cell of
            a study has the same keys.
        recipe: its seed is that of the first run, later runs count up from it.
    """

    labels: Mapping[str, str]
    recipe: Recipe

    @property
    def name(self) -> str:
        """The values of the labels as a file name."""
        return cell_name(self.labels)


def cell_name(labels: Mapping[str, str]) -> str:
    """The values of a cell's labels as a file name."""
    return "-".join(re.sub(r"[^A-Za-z0-9_.+]+", "_", value) for value in labels.values())


def key(name: str, part: str) -> str:
    """Column name of a score: "factor/pose" of all features, "factor/pose@equi" of one part."""
    return name if part == "all" else f"{name}@{part}"


@dataclass(frozen=True)
class Measure(Checked):
    """A score as a column of the table.

    Args:
        name: in ``scores.jsonl``, such as "linear/top1" or "audit/hue".
        title: head of the column.
        lower: lower is better.
        part: of split features; blank for encoders without it.
        digits: decimals.
    """

    name: str
    title: str
    lower: bool = False
    part: str = "all"
    digits: int = 3

    def __post_init__(self) -> None:
        check_bounds(self, "digits", low=0, high=12)

    @property
    def key(self) -> str:
        """Name of the column in ``table.json`` and ``Bars.measures``."""
        return key(self.name, self.part)


@dataclass(frozen=True, kw_only=True)
class Bars(Checked):
    """Bar chart: one panel per measure, bars grouped by one label and coloured by another.

    Args:
        groups: label along the x axis.
        series: label shown by colour; "" for a single colour.
        measures: keys of the measures; all of the study if empty.
    """

    groups: str
    series: str = ""
    measures: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Layout(Checked):
    """What the table and the figure of a study show, and what they compare.

    Args:
        title: heading of the table.
        measures: columns of the table.
        figure: layout of the figure.
        about: caption of the table, one paragraph.
        across: label whose values become columns, once per measure; "" for one row per cell.
        compare: (label, value): paired differences of every other value of the label to this one.
        reference: labels of one cell, the baseline of all paired differences; a line in the figure.
    """

    title: str
    measures: tuple[Measure, ...]
    figure: Bars
    about: str = ""
    across: str = ""
    compare: tuple[str, str] | None = None
    reference: Mapping[str, str] | None = None

    def check_cells(self, cells: Sequence[Mapping[str, str]]) -> None:
        """
        Args:
            cells: the labels of every cell.

        Raises:
            ValueError: labels or names do not fit together.
        """
        if not cells or not self.measures:
            raise ValueError("a study needs at least one cell and one measure")
        labels = list(cells[0])
        if any(list(c) != labels for c in cells):
            raise ValueError(f"every cell must have the labels {labels}, in this order")
        compared = self.compare[0] if self.compare else ""
        for option, label in (
            ("figure.groups", self.figure.groups),
            ("figure.series", self.figure.series),
            ("across", self.across),
            ("compare", compared),
        ):
            if label and label not in labels:
                raise ValueError(f"{option}={label!r} is none of the labels {labels}")
        if self.reference and dict(self.reference) not in [dict(c) for c in cells]:
            raise ValueError(f"reference={dict(self.reference)} are the labels of no cell")
        if self.reference and self.compare:
            raise ValueError("compare and reference exclude each other")
        unknown = set(self.figure.measures) - {m.key for m in self.measures}
        if unknown:
            raise ValueError(f"figure.measures={sorted(unknown)} are no measures of the study")


@dataclass(frozen=True, kw_only=True)
class Study(Layout):
    """Runs to train under one protocol, their evaluations, and the layout of the results.

    Args:
        cells: rows of the table, in its order.
        audits: augmentations to audit, keys of ``equissl.evaluate.audit.factors.AUDITS``; the scores are
            "audit/<factor>".
        tasks: fine-tuning of every pretrained encoder, with the augmentation of its base's first view.
        evaluations: names (``equissl list evaluations``) or "usual".
        settings: of the evaluations, as text: "knn.k" -> "200".
        images: maximum number of test images to score.

    Raises:
        ValueError: labels or names do not fit together.
    """

    cells: tuple[Cell, ...]
    audits: tuple[str, ...] = ()
    tasks: tuple[Downstream, ...] = ()
    evaluations: tuple[str, ...] = ("usual",)
    settings: Mapping[str, str] = field(default_factory=dict)
    images: int = 1000

    def __post_init__(self) -> None:
        self.check_cells([c.labels for c in self.cells])
        names = [c.name for c in self.cells]
        duplicates = sorted({n for n in names if names.count(n) > 1})
        if duplicates:
            raise ValueError(f"two cells are called {duplicates[0]!r}; their labels must differ")
        check_bounds(self, "images", low=1)

    def with_recipes(self, recipes: Sequence[Recipe]) -> Study:
        """Replace the recipe of every cell."""
        cells = [replace(c, recipe=r) for c, r in zip(self.cells, recipes, strict=True)]
        return replace(self, cells=tuple(cells))


@dataclass(frozen=True)
class Job:
    """One run of a study: a cell with one seed. ``name`` is its folder."""

    name: str
    labels: Mapping[str, str]
    recipe: Recipe


def jobs(study: Study, seeds: int) -> list[Job]:
    """All runs of a study, ordered by seed, so that a table over all cells is there early.

    Raises:
        UserError: ``seeds`` is below 1, or a recipe's views do not fit together.
    """
    if seeds < 1:
        raise UserError(f"seeds must be at least 1, got {seeds}")
    for cell in study.cells:
        try:
            check_views(cell.recipe, cell.recipe.data.spaces)
        except UserError as error:
            raise UserError([f"cell {cell.name}: {p}" for p in error.problems]) from None
    planned = []
    for step in range(seeds):
        for cell in study.cells:
            recipe = replace(cell.recipe, seed=cell.recipe.seed + step)
            planned.append(Job(f"{cell.name}-seed{recipe.seed}", cell.labels, recipe))
    return planned


def with_settings(study: Study, settings: Mapping[str, str], trusted: Sequence[str] = ()) -> Study:
    """Override fields in the recipe of every cell that has them.

    Args:
        settings: ``path.to.field`` -> text, as on the command line.

    Raises:
        UserError: a setting that fits no cell; the message is that of the first.
    """
    recipes = [c.recipe for c in study.cells]
    problems: list[str] = []
    for path, text in settings.items():
        errors: list[UserError] = []
        for k, recipe in enumerate(recipes):
            try:
                recipes[k] = override(recipe, {path: text}, tuple(trusted))
            except UserError as error:
                errors.append(error)
        if len(errors) == len(recipes):
            problems += errors[0].problems
    if problems:
        raise UserError(problems)
    return study.with_recipes(recipes)


def cost(recipe: Recipe) -> dict[str, float]:
    """Encoder cost of a step, without momentum encoders and heads.

    Returns:
        "views": encoded images per image of the batch; "images_per_step": that times the batch;
        "pixels": encoded pixels per image of the batch, in units of one full-sized image.
    """
    side = recipe.data.size
    full = recipe.encoder.size**2
    views, pixels = 0, 0.0
    for spec in recipe.views.values():
        if spec.encode:
            height, width = spec.augment.output_size((side, side))
            images = _orbit_size(spec, height, width)
            views += images
            pixels += images * height * width / full
    return {"views": views, "images_per_step": views * recipe.batch_size, "pixels": round(pixels, 3)}


def _orbit_size(spec: ViewSpec, height: int, width: int) -> int:
    """Images per image in the orbit of a view; 1 without an orbit."""
    if spec.orbit is None:
        return 1
    return len(spec.orbit.expand(torch.zeros(1, 3, height, width), Space().neutral(1))[0])


def layout(study: Study) -> dict[str, object]:
    """A study without its cells, as JSON-ready data."""
    data = {f.name: getattr(study, f.name) for f in dataclasses.fields(study) if f.name != "cells"}
    data["measures"] = [{**dataclasses.asdict(m), "name": m.key} for m in study.measures]
    data["tasks"] = to_dict(study.tasks)
    data["figure"] = dataclasses.asdict(study.figure)
    return data
