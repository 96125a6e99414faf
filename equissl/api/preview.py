"""Example views of a recipe's first images: parameters, exact replay, and samples that can be repeated."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

from equissl.augment.base import Augmentation, Pipeline, replay
from equissl.augment.batched import as_float
from equissl.augment.record import recompute
from equissl.augment.table import cells
from equissl.config.public import installed_version
from equissl.data.base import Dataset
from equissl.data.batch import Batch
from equissl.data.image_folder import ImageFolder
from equissl.data.image_table import ImageTable
from equissl.errors import UserError
from equissl.evaluate.explorer.neighbors import data_uri
from equissl.params import Params, between
from equissl.progress import ShowProgress, shown
from equissl.recipe import Recipe, check_views
from equissl.report import Parameter, ParameterChange, Preview, ViewExamples, write_preview
from equissl.report.display_names import listed
from equissl.views import Fresh, View, ViewSpec, check_replays, make_views

PARTNERS = 500  # images among which those of one group are found


def preview_views(
    recipe: Recipe,
    out: Path | str,
    *,
    name: str = "",
    count: int = 8,
    seed: int = 0,
    progress: ShowProgress = False,
) -> Preview:
    """Write a page of example views: the first images, their views with all parameters, and exact replays.

    Args:
        recipe: whose views, of whose data; no file of a folder is refused or held out.
        out: page to write.
        name: of the recipe, in the page's title.
        count: images on the page.
        progress: as of ``audit``.

    Raises:
        UserError: ``count`` is below 1, the views need images or factors that the data lacks, or an
            augmentation has randomness of its own.
    """
    if count < 1:
        raise UserError(f"count must be at least 1, got {count}")
    check_views(recipe, recipe.data.spaces)
    data = recipe.data
    if isinstance(data, ImageFolder | ImageTable):
        limit = max(count, PARTNERS) if "partner" in data.spaces else count
        data = replace(data, limit=limit, test_fraction=0.0, max_bad_fraction=1.0)
    with shown(progress) as show:
        made = build_preview(recipe, name or "a recipe", data.open("train", show), count, seed)
    write_preview(made, Path(out))
    return made


def build_preview(recipe: Recipe, name: str, dataset: Dataset, count: int, seed: int) -> Preview:
    """The views of ``count`` images in epoch 0, replayed and sampled again, as data of a page."""
    count = min(count, len(dataset))
    batch = dataset.batch(torch.arange(count) * len(dataset) // max(count, 1))  # neighbours are alike
    check_replays(recipe.views, batch)
    views = make_views(batch, recipe.views, seed)
    files = [dataset.files[i].rpartition("/")[2] if dataset.files else f"image {i}" for i in batch.index]
    shown = [_examples(n, s, batch, views[n], seed) for n, s in recipe.views.items()]
    unreadable = [("images that cannot be read", f"{len(bad):,}")] if (bad := dataset.bad_images) else []
    used = dict.fromkeys(spec.image for spec in recipe.views.values())
    facts = [
        ("recipe", name),
        ("seed", str(seed)),
        ("epoch", "0"),
        ("source", f"{recipe.data.size} x {recipe.data.size} px"),
        *unreadable,
        ("date", date.today().isoformat()),
        ("equissl", installed_version("equissl")),
    ]
    return Preview(
        f"Views of {name}: {listed(list(recipe.views))}",
        facts,
        files,
        {n if len(used) > 1 else "source": [data_uri(i) for i in as_float(batch.images[n])] for n in used},
        shown,
        list(_changes(recipe, views, len(batch.index))),
    )


def _examples(name: str, spec: ViewSpec, batch: Batch, view: View, seed: int) -> ViewExamples:
    sources = as_float(batch.images[spec.image])
    sampled = view.params[torch.arange(len(sources))].select(spec.augment.space.names)
    replays = replay(spec.augment, sources, sampled.values)
    if spec.orbit is not None:
        replays, _ = spec.orbit.expand(replays, sampled)
    columns = torch.arange(len(view.images)).view(-1, len(sources)).T.flatten()
    neutral = _neutral(spec.augment, sources)
    alike = neutral.shape[1:] == sources.shape[1:]
    gaps = (replays - view.images).abs().flatten(1).amax(1)
    return ViewExamples(
        name,
        policy=[(_line(step), _short(repr(step))) for step in _steps(spec)],
        parameters=_rows(view.params[columns], neutral=True),
        positions=[k % len(sources) for k in columns.tolist()],
        images=[data_uri(view.images[k]) for k in columns.tolist()],
        replays=[data_uri(replays[k]) for k in columns.tolist()],
        differences=gaps[columns].tolist(),
        neutral=data_uri(neutral[0]),
        neutral_gap=float((neutral - sources[:1]).abs().max()) if alike else None,
        sampled_again=_sampled_again(name, spec, batch, sources, sampled, seed),
    )


def _steps(spec: ViewSpec) -> Iterator[object]:
    yield from spec.augment.steps if isinstance(spec.augment, Pipeline) else (spec.augment,)
    if spec.orbit is not None:
        yield spec.orbit
    if not isinstance(spec.draw, Fresh):
        yield spec.draw


def _line(step: object) -> str:
    """What a step is: the first sentence of its description."""
    return (inspect.getdoc(type(step)) or type(step).__name__).partition("\n")[0].rstrip(".:")


def _short(text: str) -> str:
    """A step's repr, with numbers to four digits."""
    return re.sub(r"\d+\.\d{5,}", lambda match: f"{float(match[0]):.4g}", text)


def _rows(params: Params, neutral: bool) -> list[Parameter]:
    rows = []
    for factor in params.space:
        value = params.values[factor.name]
        neutral_cell = cells(factor, factor.neutral(1))[0] if neutral else None
        flags = params.applied[factor.name].tolist()
        rows.append(Parameter(factor.name, factor.unit, neutral_cell, cells(factor, value), flags))
    return rows


def _neutral(augment: Augmentation, sources: Tensor) -> Tensor:
    return augment.apply(sources[:1], augment.space.neutral(1))


def _sampled_again(
    name: str, spec: ViewSpec, batch: Batch, sources: Tensor, sampled: Params, seed: int
) -> bool:
    if not isinstance(spec.draw, Fresh):
        return True
    size = (sources.shape[2], sources.shape[3])
    again = recompute(spec.augment, seed, 0, batch.index, name, size)
    return all(torch.equal(again.values[n], sampled.values[n]) for n in again.space.names)


def _changes(recipe: Recipe, views: Mapping[str, View], images: int) -> Iterator[ParameterChange]:
    """What takes the first view that has factors to each later one that shares some."""
    first, *others = [n for n, spec in recipe.views.items() if len(views[n].params.space)] or [""]
    for other in others:
        a, b = views[first].params, views[other].params
        pooled = a.space | b.space
        space = pooled.select([n for n in a.space.names if n in b.space.names])
        if len(space) and len(a) == len(b) == images:
            yield ParameterChange(f"{first} to {other}", _rows(between(a, b, space), neutral=False))
