"""``equissl pretrain`` and ``equissl resume``."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from equissl import api
from equissl.auto.default import choose_recipe
from equissl.auto.feasibility import feasibility_warnings
from equissl.auto.requirements import build_recipe, resolve
from equissl.cli import shared
from equissl.cli.arguments import Given
from equissl.config import overrides, registry
from equissl.data.base import Data
from equissl.data.files.scan import existing_folder
from equissl.distributed import rank
from equissl.encoder.backbone import is_timm, own_function
from equissl.errors import UserError, nearest
from equissl.recipe import Recipe, check_views
from equissl.runs import export
from equissl.runs import folder as runs
from equissl.runs import load as models
from equissl.training import loggers as track


def pretrain(given: Given) -> int:
    """Train a recipe, export the encoder, and say what to do next."""
    chosen: dict[str, Any] = {}

    def choose() -> None:
        chosen["recipe"], chosen["name"], chosen["why"] = named_recipe(given)

    def adjust() -> None:
        if "recipe" in chosen:
            chosen["recipe"] = adjusted(chosen["recipe"], given)
        else:
            check_settings(given)

    def views() -> None:
        if "recipe" in chosen:
            data: Data = chosen["recipe"].data
            check_views(chosen["recipe"], data.known)

    out: Path | None = given["out"]
    given.check(
        lambda: None if out is None else runs.check_free(out),
        lambda: given["data"] and existing_folder(str(given["data"])),
        lambda: track.check_names(given["loggers"]),
        lambda: shared.options(given),
        choose,
        adjust,
        views,
    )
    recipe: Recipe = chosen["recipe"]
    for line in [*chosen["why"], summary(recipe, chosen["name"])]:
        print(line)
    if given["keep"]:
        print("checking that keep= is feasible on these images")
        for line in feasibility_warnings(recipe):
            print(f"warning: {line}")
    run = api.pretrain(recipe, given["out"], shared.options(given), name=chosen["name"])
    own = own_function(recipe.encoder).partition(":")[0].partition(".")[0]
    _finish(run, (*shared.trusted(given), *([own] if own else [])))
    return 0


def adjusted(recipe: Recipe, given: Given) -> Recipe:
    """A recipe with the settings of a command line.

    Raises:
        UserError: with every mistake in them.
    """
    known, problems = _settings(given)
    try:
        recipe = overrides.override(recipe, known, shared.trusted(given))
    except UserError as error:
        problems += error.problems
    if problems:
        raise UserError(problems)
    return recipe


def check_settings(given: Given) -> None:
    """Raises UserError for settings that no recipe has."""
    if problems := _settings(given)[1]:
        raise UserError(problems)


def _settings(given: Given) -> tuple[dict[str, str], list[str]]:
    fields = [f.name for f in dataclasses.fields(Recipe)]
    known = {path: text for path, text in given.settings.items() if path.split(".")[0] in fields}
    unknown = given.settings.keys() - known.keys()
    return known, [f"{path}: no such setting; {nearest(path, {*fields, *given.values})}" for path in unknown]


def summary(recipe: Recipe, name: str) -> str:
    """What will be trained, in one line."""
    encoder = recipe.encoder
    parts = [type_name(recipe.base)] if recipe.base is not None else []
    parts += [f"{w.weight:g} x {key} ({type_name(w.module)})" for key, w in recipe.modules.items()]
    return (
        f"recipe {name}: {encoder.title} at {encoder.size} px; {' + '.join(parts)}; "
        f"{recipe.epochs} epochs in batches of {recipe.batch_size}; seed {recipe.seed}"
    )


def type_name(config: object) -> str:
    """The method a ``Config`` belongs to."""
    return type(config).__qualname__.partition(".")[0]


def resume(given: Given) -> int:
    """Continue a run from its last checkpoint."""
    given.check(lambda: track.check_names(given["loggers"]), lambda: shared.options(given))
    run = api.resume(given.things[0], given.settings, shared.options(given), trusted=shared.trusted(given))
    _finish(run, shared.trusted(given))
    return 0


def named_recipe(given: Given) -> tuple[Recipe, str, list[str]]:
    """The recipe asked for, or one that suits the images, and why."""
    path: Path | None = given["data"]
    if given["recipe"] is not None and (given["keep"] or given["ignore"]):
        raise UserError("recipe=... and keep=... or ignore=... exclude each other: the latter make a recipe")
    if given["recipe"] is None:
        if path is None:
            raise UserError("data=DIR is missing: the folder of images to learn from (or name a recipe)")
        if not path.is_dir():
            raise UserError([])  # already reported
        recipe, why = choose_recipe(path)
        name = "photographs"
        if given["keep"] or given["ignore"]:
            requirements = resolve(given["keep"], given["ignore"])
            recipe, name = build_recipe(recipe, requirements), "keep"
            warnings = (f"warning: {line}" for line in requirements.warnings)
            why = [why[0], *requirements.reasons, *warnings]
        return _on(recipe, path, given["labels"]), name, why
    function = registry.find_recipe(given["recipe"])
    recipe = function()
    if not isinstance(recipe, Recipe):
        raise UserError(f"recipe={given['recipe']!r} returned {type(recipe).__name__}, not a Recipe")
    if path is None:
        return recipe, given["recipe"], []
    return _on(recipe, path, given["labels"]), given["recipe"], []


def _on(recipe: Recipe, path: Path, labels: str) -> Recipe:
    return replace(recipe, data=shared.folder(path, recipe.data.size, labels))


def _finish(run: runs.Run, trusted: tuple[str, ...]) -> None:
    if rank() > 0:
        return
    place = shlex.quote(str(run.path))
    loaded = models.load_run(run, trusted)
    print(f"run folder: {run.path}")
    if is_timm(loaded.config):
        out = export.export_timm(loaded, run.path / "export", run.rows("scores.jsonl"))
        print(f"exported backbone: {out}\n\n{export.snippet(loaded, out)}")
    print(f"next: equissl evaluate {place}   equissl audit {place} data=DIR   equissl report {place}")
