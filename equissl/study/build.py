"""Build a study from its name, its settings, overrides of its recipes, and a data set."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

from equissl.config import overrides, registry
from equissl.config.parse import parse
from equissl.data.folder import open_data
from equissl.errors import UserError, nearest
from equissl.recipe import Recipe
from equissl.study import plan
from equissl.study.plan import Study


def build_study(
    name: str,
    settings: Mapping[str, str] | None = None,
    *,
    data: Path | str | None = None,
    labels: str = "none",
    limit: int | None = None,
    trusted: Sequence[str] = (),
    others: Collection[str] = (),
) -> Study:
    """Build the study ``name``.

    Args:
        name: as in ``equissl list studies``, or ``module:function``.
        settings: of the study ("bases" -> "simclr,byol") or of all its recipes ("epochs" -> "20"), as text.
        data: folder of images, in place of the study's own data.
        labels: "none", "folders" or a ``.csv`` file with columns ``file`` and ``label``.
        limit: images of each split of ``data``; ``None`` for all.
        trusted: packages whose code a setting may name.
        others: further valid names, for suggestions.

    Raises:
        UserError: no such study, and every mistake in the settings.
    """
    function = registry.find_study(name)
    values, of_recipes = _sorted_settings(function, settings or {}, others)
    try:
        own = ":" in name
        study = registry.call_function(function, f"study={name!r}", **values) if own else function(**values)
    except ValueError as error:
        raise UserError(str(error)) from error
    if not isinstance(study, Study):
        raise UserError(f"study={name!r} returned {type(study).__name__}, not a Study")
    if data is not None:
        study = study.with_recipes(
            [
                replace(c.recipe, data=open_data(data, c.recipe.data.size, labels, limit=limit))
                for c in study.cells
            ]
        )
    return plan.with_settings(study, of_recipes, tuple(trusted))


def study_parameters(function: Callable[..., Study]) -> dict[str, tuple[Any, Any]]:
    """Parameters of a study function: name -> (type, default)."""
    try:
        hints, parameters = get_type_hints(function), inspect.signature(function).parameters
    except (TypeError, ValueError, NameError) as error:
        raise UserError(f"{function!r} is no study: its arguments are not known ({error})") from error
    return {n: (hints.get(n, str), p.default) for n, p in parameters.items()}


def _paths(function: Callable[..., Study], values: Mapping[str, Any]) -> list[str]:
    """The settings of a study's first recipe; none if the study cannot be built."""
    try:
        return overrides.setting_paths(function(**values).cells[0].recipe)
    except Exception:  # the study is a user's own function
        return []


def _sorted_settings(
    function: Callable[..., Study], settings: Mapping[str, str], others: Collection[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Split settings into parsed arguments of the study and overrides of its recipes."""
    own = study_parameters(function)
    fields = [f.name for f in dataclasses.fields(Recipe)]
    values, of_recipes, unknown, problems = {}, {}, [], []
    for path, text in settings.items():
        try:
            if path in own:
                values[path] = parse(text, own[path][0], path)
            elif path.split(".")[0] in fields:
                of_recipes[path] = text
            else:
                unknown.append(path)
        except UserError as error:
            problems += error.problems
    valid = {*fields, *own, *others, *(_paths(function, values) if unknown else ())}
    problems += [
        f"{path}: neither the study nor its recipes have it; {nearest(path, valid)}" for path in unknown
    ]
    if problems:
        raise UserError(problems)
    return values, of_recipes
