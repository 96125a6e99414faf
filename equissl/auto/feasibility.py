"""Feasibility checks of keep=: can the factors be read from these images at all?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.factor_names import CROP
from equissl.auto import identifiability
from equissl.data.base import Data
from equissl.equivariance._parameter_targets import (
    AnyParameterTarget,
    FactorDifference,
    ParameterDifference,
    SameValue,
)
from equissl.equivariance.augself import AugSelf
from equissl.errors import UserError, nearest
from equissl.evaluate.features import make_view
from equissl.random import shuffled
from equissl.recipe import Recipe

MIN_IMAGES = 40
MAX_IMAGES = 512
MIN_RELATIVE_EFFECT = 0.03  # of the distance between two images
MAX_COLOR_LOST = 0.01  # fraction of the images
# What a change is called in a message, and why it may have no effect.
_CHANGES: Mapping[str, tuple[str, str]] = {
    "hue": ("A hue shift", "are they grey?"),
    "saturation": ("A change of saturation", "are they grey?"),
    "horizontal_flip": ("A horizontal flip", "are they mirror-symmetric?"),
    "vertical_flip": ("A vertical flip", "are they mirror-symmetric?"),
    "quarter_turns": ("A quarter turn", "are they symmetric under it?"),
    "rotation": ("A rotation", "are they symmetric under it?"),
}


def feasibility_warnings(recipe: Recipe, seed: int = 0) -> list[str]:
    """Checks of the factors that ``keep=`` asks for, measured with a recipe's views on its own images.

    Args:
        recipe: with a module "kept", as ``build_recipe`` returns it; its settings may have changed since.

    Returns:
        One line per failed check; none where there are fewer than ``MIN_IMAGES`` images to measure on.

    Raises:
        UserError: no view samples a kept factor.
    """
    checked = _checked(recipe, seed)
    if checked is None:
        return []
    keep, images = checked
    lines = [*_unidentifiable(recipe, keep, images, seed), *_color_checks(recipe, keep, images, seed)]
    return [*lines, *_orientation_checks(keep, images, seed)]


def unidentifiable(recipe: Recipe, seed: int = 0) -> list[str]:
    """Those lines of ``feasibility_warnings`` that say that a kept factor hardly changes these images."""
    checked = _checked(recipe, seed)
    return [] if checked is None else _unidentifiable(recipe, *checked, seed)


def _checked(recipe: Recipe, seed: int) -> tuple[Mapping[str, Sequence[str]], Tensor] | None:
    """The factors that are kept, with the names that they are recorded under, and images to measure on.

    Raises:
        UserError: no view samples one of them.
    """
    module = recipe.modules["kept"].module if "kept" in recipe.modules else None
    if not isinstance(module, AugSelf.Config):
        return None
    images = _images(recipe.data, seed)
    if len(images) < MIN_IMAGES:
        return None
    keep = {name: _recorded_factors(target) for name, target in module.targets.items()}
    varying = identifiability.varying_factors(images, _moved(recipe), seed).names
    missing = [k for k, names in keep.items() if not set(names) <= set(varying)]
    if missing:
        raise UserError(
            [
                f"keep={k}: no view samples it any more; {nearest(k, varying)}. Undo the setting of its views"
                for k in missing
            ]
        )
    return keep, images


def _moved(recipe: Recipe) -> Augmentation:
    """The augmentation of the view in which the kept factors vary."""
    return recipe.views[recipe.modules["kept"].module.reads()[1]].augment


def _unidentifiable(
    recipe: Recipe, keep: Mapping[str, Sequence[str]], images: Tensor, seed: int
) -> list[str]:
    lines = []
    for k, names in keep.items():
        size = identifiability.relative_effect(images, _moved(recipe), names, seed)
        if size < MIN_RELATIVE_EFFECT:
            change, cause = _CHANGES.get(k, (f"A change of {k}", "are they uniform?"))
            lines.append(
                f"keep={k}: not identifiable on these images. {change} changes them by {100 * size:.1f} % of "
                f"the mean distance between images (threshold {100 * MIN_RELATIVE_EFFECT:.0f} %); {cause}"
            )
    return lines


def _recorded_factors(target: AnyParameterTarget) -> tuple[str, ...]:
    """The recorded names of the factors that a target predicts."""
    match target:
        case ParameterDifference(factors=names) | FactorDifference(factors=names):
            return names
        case SameValue(factor=name):
            return (name,)
    return CROP


def _color_checks(recipe: Recipe, keep: Mapping[str, object], images: Tensor, seed: int) -> list[str]:
    """Whether the views keep the colour that a kept hue or saturation is read from."""
    colors = ",".join(k for k in keep if k in ("hue", "saturation"))
    lines = []
    for name, spec in recipe.views.items() if colors and "grayscale" not in keep else ():
        lost = identifiability.fraction_color_lost(images, spec.augment, seed)
        if lost > MAX_COLOR_LOST:
            lines.append(
                f"keep={colors}: view {name} removes the colour or a channel of {100 * lost:.0f} % of its "
                f"images (threshold {100 * MAX_COLOR_LOST:.0f} %). Remove grayscale or the dropped channel "
                f"from views.{name}"
            )
    return lines


def _orientation_checks(keep: Mapping[str, object], images: Tensor, seed: int) -> list[str]:
    """Whether a flip or rotation can be read from a single image of this data set."""
    lines = []
    for name in keep:
        if name not in (*identifiability.ELEMENTS, "rotation"):
            continue
        if name in ("rotation", "quarter_turns"):
            turns = ", ".join(f"{90 * k}" for k in identifiability.symmetric_turns(images))
            if turns:
                lines.append(
                    f"keep={name}: identifiable only up to turns of {turns} degrees, which change the images "
                    f"by less than {100 * identifiability.MAX_SYMMETRIC_CHANGE:.0f} % of the mean distance "
                    "between images. Expect features that are equal under them"
                )
        group = "quarter_turns" if name == "rotation" else name
        probe = identifiability.orientation_accuracy(images, group, seed)
        if not probe.is_above_chance:
            lines.append(
                f"keep={name}: not identifiable from a single image (accuracy of a linear probe on simple "
                f"features: {100 * probe.accuracy.value:.0f} %, chance {100 * probe.chance:.0f} %); does the "
                "folder hold images in all orientations? The change between two views is predicted here, "
                "which still works; do not add an absolute target"
            )
    return lines


def _images(data: Data, seed: int) -> Tensor:
    """Up to ``MAX_IMAGES`` training images (N, 3, S, S) in [0, 1]."""
    if "limit" in {f.name for f in fields(data)}:  # type: ignore[arg-type]
        data = replace(data, limit=MAX_IMAGES)  # type: ignore[type-var]
    dataset = data.open("train")
    return make_view(dataset.batch(shuffled(len(dataset), seed, "feasibility")[:MAX_IMAGES])).images
