"""Differences between recipes, and which of them a run may be continued with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from equissl.config.serialize import to_dict
from equissl.errors import UserError
from equissl.recipe import Recipe
from equissl.runs.folder import Run, environment
from equissl.storage import read_object


def recipe_differences(old: Recipe | Mapping[str, Any], new: Recipe) -> list[str]:
    """The settings in which two recipes differ, as ``path: old -> new``.

    Args:
        old: a recipe, or one as stored in ``recipe.json``.
    """
    return _differences(to_dict(old) if isinstance(old, Recipe) else old, to_dict(new))


def run_differences(run: Run, recipe: Recipe) -> list[str]:
    """The settings in which a recipe differs from the one a run was started with.

    ``engine="auto"`` and ``precision="auto"`` are no differences: the run holds what was chosen, and what the
    files of the data decided. Nor is a download: the run was written after it.
    """
    data = recipe.data
    old, new = read_object(run.path / "recipe.json"), to_dict(replace(recipe, data=data.opened()))
    new |= {name: old.get(name) for name in ("engine", "precision") if getattr(recipe, name) == "auto"}
    known = old.get("data")
    open_fields = [name for name in data.settled_by_files if getattr(data, name) is None]
    new["data"] |= {name: known.get(name) for name in open_fields if isinstance(known, dict)}
    return _differences(old, new)


def check_unedited(run: Run, began: Recipe, recipe: Recipe) -> None:
    """Check that ``recipe.json`` is the recipe that a checkpoint was trained with.

    More epochs are no difference, and neither is where the data lie.

    Raises:
        UserError: it is not; the message names the settings.
    """
    if lines := _essential(recipe_differences(began, recipe)):
        raise UserError(
            f"{run.path / 'recipe.json'} was changed after the run began: {'; '.join(lines)}. A run keeps "
            "its recipe: put the old values back to use it, or start a new run with the new ones"
        )


def check_resumable(old: Recipe, new: Recipe) -> None:
    """Raises UserError unless two recipes differ in nothing but more epochs and where the data lie."""
    if lines := _essential(recipe_differences(old, new)):
        listed = "; ".join(lines)
        raise UserError(
            f"a resumed run must keep its recipe, but this differs: {listed}. Start a new run instead"
        )
    if new.epochs < old.epochs:
        raise UserError(f"epochs={new.epochs}: a run can only be prolonged; it was started for {old.epochs}")


def version_changes(run: Run) -> list[str]:
    """A line for each package that a run's numbers depend on and that has another version by now."""
    before = read_object(run.path / "environment.json").get("versions")
    now = environment()["versions"]
    changed = {n: before.get(n) for n in now if isinstance(before, dict) and before.get(n) != now[n]}
    return [
        f"{n} {old} began this run and {now[n]} goes on: numbers may differ" for n, old in changed.items()
    ]


def _essential(differences: Iterable[str]) -> list[str]:
    return [d for d in differences if not d.startswith(("epochs: ", "data.path: "))]


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(k for k in new if k not in old)]
        return [d for k in keys for d in _differences(old.get(k), new.get(k), f"{path}.{k}".lstrip("."))]
    return [] if old == new else [f"{path}: {_shortened(old)} -> {_shortened(new)}"]


def _shortened(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else f"{text[:57]}..."
