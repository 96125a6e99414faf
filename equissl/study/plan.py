"""What a study is, as plain data: which runs, what is measured, how the table and the figure are laid out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from equissl.config.overrides import override
from equissl.config.serialize import to_dict
from equissl.errors import UserError
from equissl.evaluate.base import Downstream
from equissl.params import Space
from equissl.recipe import Recipe, check_views
from equissl.views import ViewSpec


@dataclass(frozen=True)
class Cell:
    """One configuration; every seed of it is a run.

    Args:
        labels: what tells it from the others, ``{"base": "simclr", "module": "equimod"}``; every cell of a
            study has the same keys.
        recipe: its seed is that of the first run, the next ones count up from it.
    """

    labels: Mapping[str, str]
    recipe: Recipe

    @property
    def name(self) -> str:
        """The labels as a file name."""
        return "-".join(re.sub(r"[^A-Za-z0-9_.+]+", "_", value) for value in self.labels.values())


def key(name: str, part: str) -> str:
    """What a score of one part goes by: "factor/pose" of all features, "factor/pose@equi" of one part."""
    return name if part == "all" else f"{name}@{part}"


@dataclass(frozen=True)
class Measure:
    """A score that becomes a column: its name in ``scores.jsonl`` ("linear/top1", "audit/hue"), a title.

    Args:
        lower: a lower value is better (an error).
        digits: after the point, in the table.
        part: of the features; cells whose encoder is not split have "all" only, and stay blank elsewhere.
    """

    name: str
    title: str
    lower: bool = False
    part: str = "all"
    digits: int = 3

    @property
    def key(self) -> str:
        """What the column goes by in ``table.json`` and ``Bars.measures``."""
        return key(self.name, self.part)


@dataclass(frozen=True, kw_only=True)
class Bars:
    """The figure: a panel per measure, a group of bars per value of one label, a colour per value of another.

    Args:
        groups: label along the axis.
        series: label told by colour; "" for one colour.
        measures: their keys; all of the study's if empty.
    """

    groups: str
    series: str = ""
    measures: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Study:
    """A set of runs and what is made of them.

    Args:
        title: heading of the table.
        cells: the configurations, in the table's order.
        measures: the table's columns.
        figure: layout of the figure.
        about: what a reader must know, a paragraph; papers' numbers are marked as such.
        audits: names in ``evaluate.audits.AUDITS`` that are audited; the scores are "audit/<factor>".
        tasks: what every pretrained encoder is trained further for, with the augmentation of its base's
            first view.
        evaluations: names (``equissl list evaluations``) or "usual".
        changes: their settings as text, "knn.k" -> "200".
        images: test images that are scored, at most.
        across: a label whose values stand side by side in a row, once per measure; "" for one row per cell.
        compare: (label, value): every other value of the label is compared with this one, seed by seed.
        reference: labels of one cell that all others are compared with instead; a line in the figure.

    Raises:
        ValueError: labels or names do not fit together.
    """

    title: str
    cells: tuple[Cell, ...]
    measures: tuple[Measure, ...]
    figure: Bars
    about: str = ""
    audits: tuple[str, ...] = ()
    tasks: tuple[Downstream, ...] = ()
    evaluations: tuple[str, ...] = ("usual",)
    changes: Mapping[str, str] = field(default_factory=dict)
    images: int = 1000
    across: str = ""
    compare: tuple[str, str] | None = None
    reference: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if not self.cells or not self.measures:
            raise ValueError("a study needs at least one cell and one measure")
        labels = list(self.cells[0].labels)
        if any(list(c.labels) != labels for c in self.cells):
            raise ValueError(f"every cell must have the labels {labels}, in this order")
        names = [c.name for c in self.cells]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"two cells are called {twice[0]!r}; their labels must differ")
        compared = self.compare[0] if self.compare else ""
        for place, label in (
            ("figure.groups", self.figure.groups),
            ("figure.series", self.figure.series),
            ("across", self.across),
            ("compare", compared),
        ):
            if label and label not in labels:
                raise ValueError(f"{place}={label!r} is none of the labels {labels}")
        if self.reference and dict(self.reference) not in [dict(c.labels) for c in self.cells]:
            raise ValueError(f"reference={dict(self.reference)} are the labels of no cell")
        if self.reference and self.compare:
            raise ValueError("compare and reference exclude each other")
        strangers = set(self.figure.measures) - {m.key for m in self.measures}
        if strangers:
            raise ValueError(f"figure.measures={sorted(strangers)} are no measures of the study")
        if self.images < 1:
            raise ValueError(f"images must be at least 1, got {self.images}")

    def with_recipes(self, recipes: Sequence[Recipe]) -> Study:
        """The same study with another recipe for every cell."""
        cells = [replace(c, recipe=r) for c, r in zip(self.cells, recipes, strict=True)]
        return replace(self, cells=tuple(cells))


@dataclass(frozen=True)
class Job:
    """One run of a study: a cell with one seed, and the name of its folder."""

    name: str
    labels: Mapping[str, str]
    recipe: Recipe


def jobs(study: Study, seeds: int) -> list[Job]:
    """All runs, the first seed of every cell before the second of any: a table is there early.

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
    found = []
    for step in range(seeds):
        for cell in study.cells:
            recipe = replace(cell.recipe, seed=cell.recipe.seed + step)
            found.append(Job(f"{cell.name}-seed{recipe.seed}", cell.labels, recipe))
    return found


def changed(study: Study, settings: Mapping[str, str], trusted: Sequence[str] = ("equissl",)) -> Study:
    """The study with recipe settings applied to every cell that has them.

    Args:
        settings: ``path.to.field`` -> text, as ``equissl pretrain`` takes them.

    Raises:
        UserError: a setting that no cell has, or whose value fits none; the message is that of one cell.
    """
    recipes = [c.recipe for c in study.cells]
    problems: list[str] = []
    for path, text in settings.items():
        refused: list[UserError] = []
        for k, recipe in enumerate(recipes):
            try:
                recipes[k] = override(recipe, {path: text}, tuple(trusted))
            except UserError as error:
                refused.append(error)
        if len(refused) == len(recipes):
            problems += refused[0].problems
    if problems:
        raise UserError(problems)
    return study.with_recipes(recipes)


def cost(recipe: Recipe) -> dict[str, float]:
    """What a step costs, so that rows can be compared: teachers and heads are not counted.

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
            many = _order(spec, height, width)
            views += many
            pixels += many * height * width / full
    return {"views": views, "images_per_step": views * recipe.batch_size, "pixels": round(pixels, 3)}


def _order(spec: ViewSpec, height: int, width: int) -> int:
    """How many images a view's orbit makes of one."""
    if spec.orbit is None:
        return 1
    return len(spec.orbit.expand(torch.zeros(1, 3, height, width), Space().neutral(1))[0])


def layout(study: Study) -> dict[str, object]:
    """Everything of a study but its recipes, as JSON-ready data."""
    plain = {f.name: getattr(study, f.name) for f in dataclasses.fields(study) if f.name != "cells"}
    plain["measures"] = [{**dataclasses.asdict(m), "name": m.key} for m in study.measures]
    plain["tasks"] = to_dict(study.tasks)
    plain["figure"] = dataclasses.asdict(study.figure)
    return plain
