"""What speaks against a wish, measured on the images before anything is trained."""

from __future__ import annotations

from dataclasses import fields, replace

from torch import Tensor

from equissl.auto import identifiability as identifiable
from equissl.data.base import Data
from equissl.equivariance.augself import AnyTarget, AugSelf, FactorChange, SameState, ValueChange
from equissl.errors import UserError, nearest
from equissl.evaluate.features import make_view
from equissl.random import shuffled
from equissl.recipe import Recipe

CROP = ("crop_top", "crop_left", "crop_height", "crop_width")
_IMAGES = 512
_FEWEST = 40
_LITTLE = 0.03  # of the distance between two images


def feasibility_warnings(recipe: Recipe, seed: int = 0) -> list[str]:
    """What speaks against keeping what a wish keeps, measured with a recipe's views on its own images.

    Args:
        recipe: with a module "kept", as ``wish.fulfilled`` returns it; its settings may have changed since.

    Returns:
        A line per doubt; none where there are fewer than 40 images to measure on.

    Raises:
        UserError: a kept factor that no view draws.
    """
    module = recipe.modules["kept"].module if "kept" in recipe.modules else None
    if not isinstance(module, AugSelf.Config):
        return []
    images = _images(recipe.data, seed)
    if len(images) < _FEWEST:
        return []
    augment = recipe.views[module.pair[1]].augment
    keep = {name: _factors(target) for name, target in module.targets.items()}
    drawn = identifiable.factors_drawn(images, augment, seed).names
    silent = [k for k, names in keep.items() if not set(names) <= set(drawn)]
    if silent:
        raise UserError(
            [
                f"keep={k}: no view draws it any more; {nearest(k, drawn)}. Undo the setting of its views"
                for k in silent
            ]
        )
    found: list[str] = []
    for k, names in keep.items():
        moved = identifiable.effect(images, augment, names, seed)
        if moved < _LITTLE:
            found.append(
                f"{k} cannot be known: it changes these images by {moved:.1%} of the distance between two "
                "of them (they are symmetric in it, or have no colour)"
            )
    colors = ", ".join(k for k in keep if k in ("hue", "saturation"))
    for name, spec in recipe.views.items() if colors and "grayscale" not in keep else ():
        lost = identifiable.color_lost(images, spec.augment, seed)
        if lost > 0.01:
            found.append(
                f"{colors} cannot be kept in view {name}: {lost:.0%} of its images have no colour or "
                "a channel less (grayscale or a dropped channel in its policy)"
            )
    return found + [line for k in keep for line in _orientation(images, k, seed)]


def _factors(target: AnyTarget) -> tuple[str, ...]:
    """What the factors that a target predicts are called in the records."""
    match target:
        case ValueChange(factors=names) | FactorChange(factors=names):
            return names
        case SameState(factor=name):
            return (name,)
    return CROP


def _orientation(images: Tensor, name: str, seed: int) -> list[str]:
    """Whether a flip or turn can be known absolutely, from one image, on this folder."""
    if name not in (*identifiable.ELEMENTS, "rotation"):
        return []
    found = []
    if name in ("rotation", "quarter_turns"):
        same = identifiable.symmetries(images)
        if same:
            shown = ", ".join(f"{90 * k} degrees" for k in same)
            found.append(f"{name} is known only up to {shown}: the images are symmetric under it")
    told = identifiable.told_apart(images, "quarter_turns" if name == "rotation" else name, seed)
    if not told.better_than_chance:
        found.append(
            f"{name} cannot be told from a single image of this folder (a linear probe on simple features: "
            f"{told.accuracy.value:.0%}, chance {told.chance:.0%}): it seems to hold images both as they "
            "are and turned. Its change between two views can be known, and that is what is predicted here; "
            "do not predict it absolutely"
        )
    return found


def _images(data: Data, seed: int) -> Tensor:
    """Up to 512 training images (N, 3, S, S) in [0, 1]."""
    if "limit" in {f.name for f in fields(data)}:  # type: ignore[arg-type]
        data = replace(data, limit=_IMAGES)  # type: ignore[type-var]
    dataset = data.open("train")
    return make_view(dataset.batch(shuffled(len(dataset), seed, "wish")[:_IMAGES])).images
