"""The recipe of a run: named, made for keep= and ignore=, or chosen for the images; then its settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from equissl.auto.default import choose_recipe
from equissl.auto.requirements import build_recipe, resolve
from equissl.config import overrides, registry
from equissl.data.folder import open_data
from equissl.data.image_table import ImageTable
from equissl.errors import UserError, nearest
from equissl.recipe import Recipe

_UNREAD = (
    "what the table measures is not learned from here; recipe=sie.sie_measured with data.group=COLUMN learns "
    "from it"
)


@dataclass(frozen=True)
class Selection:
    """A recipe, its name in tables, and lines that say why it was chosen."""

    recipe: Recipe
    name: str
    reasons: tuple[str, ...] = ()


def select_recipe(
    data: Path | str | None = None,
    name: str | None = None,
    *,
    keep: Sequence[str] = (),
    ignore: Sequence[str] = (),
    labels: str = "none",
) -> Selection:
    """The recipe called ``name``, or one for the images in a folder; nothing is trained.

    Args:
        data: folder of images, or a table of them; the recipe's own data if absent.
        name: as in ``equissl list recipes``, or ``module:function``.
        keep, ignore: factors, in place of a name (see ``recipe_for``).
        labels: "none", "folders" or a ``.csv`` file with columns ``file`` and ``label``.

    Raises:
        UserError: no such recipe, neither a name nor data, or a name together with ``keep`` or ``ignore``.

    Example:
        >>> selection = select_recipe(name="equimod.simclr_cifar10")
        >>> with_settings(selection.recipe, {"epochs": "3", "encoder.name": "resnet50"}).epochs
        3
    """
    if name is not None and (keep or ignore):
        raise UserError("recipe=... and keep=... or ignore=... exclude each other: the latter make a recipe")
    if name is None:
        if data is None:
            raise UserError("data=DIR is missing: the folder of images to learn from (or name a recipe)")
        selection = _selected(Path(data), keep, ignore)
    else:
        recipe = registry.call_function(registry.find_recipe(name), f"recipe={name!r}")
        if not isinstance(recipe, Recipe):
            raise UserError(f"recipe={name!r} returned {type(recipe).__name__}, not a Recipe")
        selection = Selection(recipe, name)
    if data is None:
        return selection
    own = open_data(data, selection.recipe.data.size, labels)
    unread = (_UNREAD,) if name is None and isinstance(own, ImageTable) else ()
    chosen = replace(selection.recipe, data=own)
    return replace(selection, recipe=chosen, reasons=(*selection.reasons, *unread))


def _selected(data: Path, keep: Sequence[str], ignore: Sequence[str]) -> Selection:
    recipe, reasons = choose_recipe(data)
    if not (keep or ignore):
        return Selection(recipe, "photographs", tuple(reasons))
    requirements = resolve(keep, ignore)
    warnings = (f"warning: {line}" for line in requirements.warnings)
    few = [line for line in reasons if line.startswith("warning")]
    reasons = [reasons[0], *requirements.reasons, *few, *warnings]
    return Selection(build_recipe(recipe, requirements), "keep", tuple(reasons))


def with_settings(
    recipe: Recipe,
    settings: Mapping[str, str],
    trusted: Sequence[str] = (),
    others: Collection[str] = (),
) -> Recipe:
    """A recipe with settings given as text, "optimizer.lr" -> "1e-3".

    Args:
        others: further names that a user may have meant.

    Raises:
        UserError: with every mistake in them.
    """
    fields = [f.name for f in dataclasses.fields(Recipe)]
    known = {path: text for path, text in settings.items() if path.split(".")[0] in fields}
    problems = unknown_settings(settings, {*others, *overrides.setting_paths(recipe)})
    try:
        recipe = overrides.override(recipe, known, tuple(trusted))
    except UserError as error:
        problems += error.problems
    if problems:
        raise UserError(problems)
    return recipe


def unknown_settings(settings: Mapping[str, str], others: Collection[str] = ()) -> list[str]:
    """A sentence for each setting that no recipe has."""
    fields = [f.name for f in dataclasses.fields(Recipe)]
    unknown = [path for path in settings if path.split(".")[0] not in fields]
    return [f"{path}: no such setting; {nearest(path, {*fields, *others})}" for path in unknown]
