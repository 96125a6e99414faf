"""The transformations of E-SSL's study, each as an invariance or as a sensitivity (arXiv:2111.00899).

Of the seven in the paper's Figure 1 the authors report that invariance helps for horizontal flip and
grayscale and sensitivity for the other five; half swap and solarize are in their later code only. All act on
pixels in [0, 1], before normalisation, where the later code inverts and solarizes normalised images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from equissl.augment.base import Augmentation, Pipeline
from equissl.augment.color.grayscale import Grayscale
from equissl.augment.color.invert import Invert
from equissl.augment.geometry.flip import HorizontalFlip, VerticalFlip
from equissl.augment.geometry.half_swap import HalfSwap
from equissl.augment.geometry.jigsaw import Jigsaw
from equissl.augment.geometry.quarter_turn import QuarterTurn
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.augment.levels import BlurLevels, SolarizeLevels
from equissl.augment.orbits import FullOrbit, RandomElement
from equissl.equivariance._parameter_targets import FactorClassification
from equissl.equivariance.essl import ESSL
from equissl.errors import UserError, nearest
from equissl.recipe import Recipe, Weighted
from equissl.recipes.essl import baseline_simclr_cifar10
from equissl.views import ViewSpec

TRANSFORMATIONS: Mapping[str, Augmentation] = {
    "horizontal_flip": HorizontalFlip(),
    "grayscale": Grayscale(),
    "rotation": QuarterTurn(),
    "vertical_flip": VerticalFlip(),
    "jigsaw": Jigsaw(),
    "blur": BlurLevels(),
    "inversion": Invert(),
    "half_swap": HalfSwap(),
    "solarize": SolarizeLevels(),
}
APPLIED = 0.5  # how often an invariance shows an element that is not the neutral one
WEIGHT = 0.4


def baseline() -> Recipe:
    """SimCLR on CIFAR-10 with random resized crops only, the study's starting point; 800 epochs."""
    view = ViewSpec(Pipeline((RandomResizedCrop(32, scale=(0.2, 1.0)),)))
    return replace(
        baseline_simclr_cifar10(),
        views={"a": view, "b": view},
        about="baseline of E-SSL's study of transformations, arXiv:2111.00899, Figure 1",
    )


def invariant(recipe: Recipe, name: str) -> Recipe:
    """Make a recipe invariant to a transformation: the compared views also get random elements of it."""
    return replace(
        recipe,
        views=invariant_views(recipe.views, name, recipe.compared),
        about=f"{recipe.about}, invariant to {name}",
    )


def sensitive(
    recipe: Recipe, name: str, weight: float = WEIGHT, hidden: tuple[int, ...] = (2048, 2048)
) -> Recipe:
    """Make a recipe sensitive to a transformation: its element is classified on an extra small view (E-SSL).

    Args:
        weight: of the cross entropy.
        hidden: widths of the head's hidden layers, by default those of E-SimCLR on CIFAR-10; it has as many
            outputs as there are elements.
    """
    factors = TRANSFORMATIONS[check_name(name)].space.names
    module = ESSL.Config(targets={name: FactorClassification(factors=factors)}, hidden=hidden)
    return replace(
        recipe,
        views=sensitive_views(recipe.views, name, recipe.compared),
        modules={**recipe.modules, "essl": Weighted(weight=weight, module=module)},
        about=f"{recipe.about}, sensitive to {name}, weight {weight}",
    )


def invariant_views(
    views: Mapping[str, ViewSpec], name: str, compared: tuple[str, ...] = ("a", "b")
) -> dict[str, ViewSpec]:
    """The views, with a random element in the ``compared`` ones; neutral with probability 0.5.

    Raises:
        UserError: no such transformation, or a view applies it already.
    """
    step = RandomElement(_free(views, name, compared), APPLIED)
    changed = {n: replace(views[n], augment=Pipeline((*_steps(views[n]), step))) for n in compared}
    return {**views, **changed}


def sensitive_views(
    views: Mapping[str, ViewSpec], name: str, compared: tuple[str, ...] = ("a", "b")
) -> dict[str, ViewSpec]:
    """The views and "small": the first ``compared`` one at half the size, transformed by every element.

    Raises:
        UserError: no such transformation, a view applies it already, or the first view has no crop.
    """
    orbit = FullOrbit(_free(views, name, compared))
    first = views[compared[0]]
    sizes = [step.size for step in _steps(first) if isinstance(step, RandomResizedCrop)]
    if len(sizes) != 1:
        raise UserError(f"views.{compared[0]} has {len(sizes)} crops; the small view needs exactly one")
    steps = (
        replace(s, size=max(2, s.size // 4 * 2)) if isinstance(s, RandomResizedCrop) else s
        for s in _steps(first)
    )
    return {**views, "small": replace(first, augment=Pipeline(tuple(steps)), orbit=orbit)}


def check_name(name: str) -> str:
    """Return the name of a transformation after checking that it exists.

    Raises:
        UserError: there is none of this name.
    """
    if name not in TRANSFORMATIONS:
        raise UserError(f"no transformation {name!r}; {nearest(name, TRANSFORMATIONS)}")
    return name


def _free(views: Mapping[str, ViewSpec], name: str, compared: tuple[str, ...]) -> Augmentation:
    """The transformation, if none of the compared views applies it already."""
    augmentation = TRANSFORMATIONS[check_name(name)]
    taken = [n for n in compared if set(augmentation.space.names) & set(views[n].augment.space.names)]
    if taken:
        raise UserError(f"views.{taken[0]} applies {name} already; take it out of that view's augmentation")
    return augmentation


def _steps(view: ViewSpec) -> tuple[Augmentation, ...]:
    return view.augment.steps if isinstance(view.augment, Pipeline) else (view.augment,)
