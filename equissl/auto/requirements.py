"""Recipes from requirements: the factors that features should keep (keep=) and ignore (ignore=)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from equissl.augment.base import Augmentation, Pipeline
from equissl.augment.color.color_jitter import ColorJitter
from equissl.augment.color.grayscale import Grayscale
from equissl.augment.color.invert import Invert
from equissl.augment.color.solarize import Solarize
from equissl.augment.factor_names import ALIASES, CROP, GROUPS, named_factors
from equissl.augment.filters.gaussian_blur import GaussianBlur
from equissl.augment.geometry.flip import HorizontalFlip, VerticalFlip
from equissl.augment.geometry.quarter_turn import QuarterTurn
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.augment.geometry.rotate import Rotate
from equissl.auto.default import choose_recipe
from equissl.auto.feasibility import feasibility_warnings
from equissl.data.folder import image_files
from equissl.equivariance._parameter_targets import AnyParameterTarget, FactorDifference, ParameterDifference
from equissl.equivariance.augself import AugSelf
from equissl.errors import UserError, nearest
from equissl.recipe import Recipe, Weighted
from equissl.views import ViewSpec

JITTER: Mapping[str, float] = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.5}
# In the order they are applied: flips and turns first, so that a crop or an angle is recorded in the frame of
# the view that shows it.
FACTORS: Mapping[str, str] = {
    "horizontal_flip": "left and right swapped or not",
    "vertical_flip": "top and bottom swapped or not",
    "quarter_turns": "any of the four quarter turns",
    "rotation": "any angle, mirrored at the border",
    "crop": "a box of 20 to 100 % of the image",
    "brightness": "times 0.6 to 1.4",
    "contrast": "times 0.6 to 1.4",
    "saturation": "times 0.6 to 1.4",
    "hue": "any shift of the colour circle",
    "grayscale": "with or without colour",
    "solarize": "bright pixels inverted or not",
    "invert": "all pixels inverted or not",
    "blur": "a Gaussian of 0.1 to 2 pixels",
}
_MEASURED = "; what is measured of images (columns of a table) is learned with recipe=sie.sie_measured"
DEFAULT_IGNORE = ("horizontal_flip", "crop", "brightness", "contrast", "saturation", "hue", "grayscale")
# (kept, ignored): why the ignored one destroys the kept one.
CONFLICTS: Mapping[tuple[str, str], str] = {
    ("hue", "grayscale"): "an image without colour has no hue",
    ("saturation", "grayscale"): "an image without colour has no saturation",
    ("hue", "invert"): "inverting turns every hue by half the circle",
    ("hue", "solarize"): "solarizing inverts bright colours, and with them their hue",
    ("saturation", "solarize"): "solarizing inverts bright colours",
    ("brightness", "solarize"): "solarizing makes dark what was bright",
    ("brightness", "invert"): "inverting makes bright what was dark",
    ("rotation", "quarter_turns"): "a quarter turn is a rotation",
    ("quarter_turns", "rotation"): "a quarter turn is a rotation",
}


@dataclass(frozen=True)
class Requirements:
    """Resolved keep= and ignore=, with the reasons and warnings in sentences.

    Args:
        keep, ignore: names in ``FACTORS``, in the order they are applied.
        reasons: one line per factor.
        warnings: requirements that are in conflict, and what was done about it.
    """

    keep: tuple[str, ...]
    ignore: tuple[str, ...]
    reasons: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def recipe_for(
    folder: Path | str, keep: Sequence[str] = (), ignore: Sequence[str] = ()
) -> tuple[Recipe, Requirements]:
    """A recipe whose features keep some factors and ignore others; nothing is trained.

    The two views of the base objective sample the ignored factors and no others, so it asks for no invariance
    to the kept ones. A third view samples the kept factors too, and AugSelf predicts their change from the
    first view to the third, so the features must hold them.

    Args:
        folder: of images, or a table. For other data, ``build_recipe(recipe, resolve(keep, ignore))``.
        keep, ignore: names in ``FACTORS``, of several ("color") or of single numbers ("crop_left" means
            "crop"), as everywhere (``augment.factor_names``).
            Without ``ignore``: what SimCLR ignores (``DEFAULT_IGNORE``), without what is kept.

    Raises:
        UserError: unknown names, a factor both kept and ignored, or nothing to ignore.
    """
    requirements = resolve(keep, ignore)
    start = choose_recipe(Path(folder))[0]
    start = replace(start, data=image_files(folder, start.data.size))
    recipe = build_recipe(start, requirements)
    warnings = (*requirements.warnings, *feasibility_warnings(recipe))
    return recipe, replace(requirements, warnings=warnings)


def resolve(keep: Sequence[str] = (), ignore: Sequence[str] = ()) -> Requirements:
    """Requirements from names of factors, with groups expanded, defaults filled in and conflicts removed.

    >>> resolve(keep=["hue"], ignore=["crop", "grayscale"]).ignore
    ('crop',)

    Raises:
        UserError: all mistakes in the names.
    """
    problems: list[str] = []
    kept, ignored = (_expand(names, key, problems) for names, key in ((keep, "keep"), (ignore, "ignore")))
    problems += [f"keep={n} and ignore={n} exclude each other. Choose one" for n in sorted(kept & ignored)]
    varied, source = ignored, "as required"
    if not ignore:
        varied, source = set(DEFAULT_IGNORE) - kept, "as in SimCLR"
    reasons: list[str] = []
    warnings = _conflicts(kept)
    for (k, i), reason in CONFLICTS.items():
        if k in kept and i in varied:
            line = f"ignore={i}: removed from the views, because {k} is kept and {reason}"
            (warnings if ignore else reasons).append(line)
            varied = varied - {i}
    if not varied and not problems:
        removed = {i: (k, reason) for (k, i), reason in CONFLICTS.items() if k in kept}
        choices = ", ".join(n for n in FACTORS if n not in kept and n not in removed)
        why = [
            f"{i} cannot be ignored where {removed[i][0]} is kept: {removed[i][1]}"
            for i in ignored
            if i in removed
        ]
        said = "; ".join(["no factor is left in which two views differ", *why])
        problems.append(f"ignore: {said}. Name some of {choices}")
    if problems:
        raise UserError(problems)
    if "crop" not in varied:
        warnings.append(
            "ignore: without crop, both views have the same pixels, and shortcuts (colour histograms, edges) "
            "solve the base objective. Add ignore=crop,... for most images"
        )
    keep_lines = [
        f"keep {n} ({FACTORS[n]}): sampled in the third view only; its change is predicted"
        for n in _in_order(kept)
    ]
    ignore_lines = [f"ignore {n} ({FACTORS[n]}): sampled in both views, {source}" for n in _in_order(varied)]
    lines = (*keep_lines, *ignore_lines, *reasons)
    return Requirements(_in_order(kept), _in_order(varied), lines, tuple(warnings))


def kept_factors(names: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The factors that names stand for, in the order they are applied, and what to expect of several of them.

    >>> kept_factors(["color", "crop_left"])[0]
    ('crop', 'brightness', 'contrast', 'saturation', 'hue')

    Raises:
        UserError: unknown names, or none.
    """
    problems: list[str] = [] if names else [f"keep=FACTOR,... is missing. Name some of {', '.join(FACTORS)}"]
    kept = _expand(names, "keep", problems)
    if problems:
        raise UserError(problems)
    return _in_order(kept), _conflicts(kept)


def build_recipe(recipe: Recipe, requirements: Requirements) -> Recipe:
    """``recipe`` with the views and the AugSelf module that meet requirements."""
    size, keep, ignore = recipe.encoder.size, requirements.keep, requirements.ignore
    compared = ViewSpec(policy(size, ignore, keep, vary_kept=False))
    views = {"a": compared, "b": compared}
    modules: dict[str, Weighted] = {}
    if keep:
        views["moved"] = ViewSpec(policy(size, ignore, keep))
        module = AugSelf.Config(pair=("a", "moved"), targets=change_targets(keep), hidden=(256,))
        modules = {"kept": Weighted(module=module)}
    about = f"keep {', '.join(keep) or 'nothing'}; ignore {', '.join(ignore)}"
    return replace(
        recipe, views=views, modules=modules, about=f"{about}; SimCLR + AugSelf, chosen by equissl"
    )


def policy(size: int, ignore: Sequence[str], keep: Sequence[str] = (), vary_kept: bool = True) -> Pipeline:
    """The augmentation of a view.

    Args:
        size: side of the result in pixels.
        ignore: factors that are sampled.
        keep: factors that are sampled too if ``vary_kept``; if not, colours among them are recorded at their
            neutral value.
    """
    sampled = {*ignore, *(keep if vary_kept else ())}
    colors: dict[str, Any] = {n: s if n in sampled else 0.0 for n, s in JITTER.items()}
    keeps_color = bool(set(keep) & set(JITTER))
    steps: dict[str, Augmentation] = {
        "horizontal_flip": HorizontalFlip(),
        "vertical_flip": VerticalFlip(),
        "quarter_turns": QuarterTurn(),
        "rotation": Rotate((-180.0, 180.0), padding_mode="reflection"),
        "crop": RandomResizedCrop(size, scale=(0.2, 1.0)),
        "jitter": ColorJitter(**colors, p=1.0 if keeps_color else 0.8),
        "grayscale": Grayscale(0.5 if "grayscale" in keep else 0.2),
        "solarize": Solarize(p=0.5 if "solarize" in keep else 0.2),
        "invert": Invert(),
        "blur": GaussianBlur(13 if "blur" in keep else 2 * max(1, size // 20) + 1),
    }
    needed = sampled | ({"jitter"} if keeps_color or sampled & set(JITTER) else set())
    return Pipeline(tuple(step for name, step in steps.items() if name in needed))


def change_targets(keep: Sequence[str]) -> dict[str, AnyParameterTarget]:
    """What is predicted of each factor: its change from one view to another that ``policy`` makes."""
    targets: dict[str, AnyParameterTarget] = {}
    for name in keep:
        if name in JITTER and name != "hue":
            targets[name] = ParameterDifference((name,), (2 * JITTER[name],))
        else:
            targets[name] = FactorDifference(_recorded(name))
    return targets


def _recorded(name: str) -> tuple[str, ...]:
    """The names under which an augmentation records a factor."""
    return {"crop": CROP, "blur": ("blur_sigma",)}.get(name, (name,))


def _conflicts(kept: Collection[str]) -> list[str]:
    """What to expect of factors that are kept together."""
    return [
        f"keep={k},{other}: both vary in the same view, and {reason}; expect a worse {k}"
        for (k, other), reason in CONFLICTS.items()
        if k in kept and other in kept and (other, k) != ("rotation", "quarter_turns")
    ]


def _expand(names: Sequence[str], key: str, problems: list[str]) -> set[str]:
    """Names in ``FACTORS``."""
    for name in names:
        if name not in FACTORS and name not in ALIASES:
            hint = nearest(name, {*FACTORS, *GROUPS})
            problems.append(
                f"{key}={name}: no such factor; {hint}{'' if hint.startswith('did you') else _MEASURED}"
            )
    return {n for n in named_factors(names) if n in FACTORS}


def _in_order(names: set[str]) -> tuple[str, ...]:
    return tuple(n for n in FACTORS if n in names)
