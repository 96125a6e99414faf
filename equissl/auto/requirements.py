"""Keep this, ignore that: a recipe from a wish, and what on the images at hand speaks against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from equissl.augment.base import Augmentation, Pipeline
from equissl.augment.color.adjust import Grayscale, Invert, Solarize
from equissl.augment.color.jitter import ColorJitter
from equissl.augment.filters.blur import Blur
from equissl.augment.geometry.crop import Crop
from equissl.augment.geometry.flip import HorizontalFlip, QuarterTurn, VerticalFlip
from equissl.augment.geometry.rotate_translate import Rotate
from equissl.auto import default as photographs
from equissl.auto.feasibility import CROP, feasibility_warnings
from equissl.data.image_folder import ImageFolder
from equissl.equivariance.augself import AnyTarget, AugSelf, FactorChange, ValueChange
from equissl.errors import UserError, nearest
from equissl.recipe import Recipe, Weighted
from equissl.views import ViewSpec

JITTER: Mapping[str, float] = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.5}
# In the order they are applied: flips and turns first, so that a crop or an angle is told in the frame of
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
GROUPS: Mapping[str, tuple[str, ...]] = {
    "flip": ("horizontal_flip",),
    "color": tuple(JITTER),
    "colour": tuple(JITTER),
}
IGNORED = ("horizontal_flip", "crop", "brightness", "contrast", "saturation", "hue", "grayscale")
# (kept, ignored): why both cannot be had.
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
    """What is kept and what is ignored, and why, in lines for people.

    Args:
        keep, ignore: names in ``FACTORS``, in the order they are applied.
        reasons: one line per factor.
        warnings: what cannot be met.
    """

    keep: tuple[str, ...]
    ignore: tuple[str, ...]
    reasons: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def recipe_for(
    folder: Path | str, keep: Sequence[str] = (), ignore: Sequence[str] = ()
) -> tuple[Recipe, Requirements]:
    """A recipe whose features keep some factors and ignore others; nothing is trained.

    The two views that are compared draw what is ignored and nothing else, so nothing presses the features to
    forget what is kept; from one of them and a third view, in which the kept factors are drawn too, their
    change is predicted (``AugSelf``), so the features must hold them.

    Args:
        folder: images. For other data, ``fulfilled(recipe, understood(keep, ignore))``.
        keep, ignore: names in ``FACTORS`` or ``GROUPS``, or of single numbers ("crop_left" means "crop").
            Ignored if nothing is said: what SimCLR ignores, without what is kept.

    Raises:
        UserError: unknown names, a factor both kept and ignored, or nothing to ignore.
    """
    wish = understood(keep, ignore)
    start = photographs.choose(Path(folder))[0]
    start = replace(start, data=ImageFolder(str(Path(folder).resolve()), start.data.size))
    recipe = fulfilled(start, wish)
    return recipe, replace(wish, warnings=(*wish.warnings, *feasibility_warnings(recipe)))


def understood(keep: Sequence[str] = (), ignore: Sequence[str] = ()) -> Requirements:
    """The wish by the names of factors, with reasons, as far as names alone can tell.

    Raises:
        UserError: all mistakes in the names.
    """
    problems: list[str] = []
    kept, ignored = (_resolved(names, what, problems) for names, what in ((keep, "keep"), (ignore, "ignore")))
    problems += [f"{n} is both kept and ignored; choose one" for n in sorted(kept & ignored)]
    chosen, source = ignored, "as you wish"
    if not ignore:
        chosen, source = set(IGNORED) - kept, "as SimCLR does"
    reasons: list[str] = []
    warnings: list[str] = []
    for (k, i), why in CONFLICTS.items():
        if k in kept and i in kept and (i, k) != ("rotation", "quarter_turns"):
            warnings.append(f"{k} and {i} are both kept, in the same view: {why}, so {k} is known less well")
        if k in kept and i in chosen:
            line = f"{i} is left out of the views, because {k} is kept: {why}"
            (warnings if ignore else reasons).append(line)
            chosen = chosen - {i}
    if not chosen and not problems:
        problems.append(
            "ignore: nothing is left that views may differ in, so there is nothing to learn from; name "
            "some of " + ", ".join(n for n in FACTORS if n not in kept)
        )
    if problems:
        raise UserError(problems)
    if "crop" not in chosen:
        warnings.append(
            "no crops are ignored: views that show the same pixels are told apart by shortcuts (colours, "
            "edges), and features become poorer; ignore=crop,... helps most images"
        )
    keeps = [
        f"keep {n} ({FACTORS[n]}): drawn in a third view only, its change is predicted" for n in _sorted(kept)
    ]
    ignores = [f"ignore {n} ({FACTORS[n]}): drawn anew in both views, {source}" for n in _sorted(chosen)]
    return Requirements(_sorted(kept), _sorted(chosen), (*keeps, *ignores, *reasons), tuple(warnings))


def fulfilled(recipe: Recipe, wish: Requirements) -> Recipe:
    """``recipe`` with the views and the module that a wish asks for."""
    size = recipe.encoder.size
    compared = ViewSpec(policy(size, wish.ignore, wish.keep, moved=False))
    views = {"a": compared, "b": compared}
    modules: dict[str, Weighted] = {}
    if wish.keep:
        views["moved"] = ViewSpec(policy(size, wish.ignore, wish.keep))
        module = AugSelf.Config(pair=("a", "moved"), targets=_targets(wish.keep), hidden=(256,))
        modules = {"kept": Weighted(module=module)}
    about = f"keep {', '.join(wish.keep) or 'nothing'}; ignore {', '.join(wish.ignore)}"
    return replace(
        recipe, views=views, modules=modules, about=f"{about}; SimCLR + AugSelf, chosen by equissl"
    )


def policy(size: int, ignore: Sequence[str], keep: Sequence[str] = (), moved: bool = True) -> Pipeline:
    """The augmentation of a view.

    Args:
        size: side of the result in pixels.
        ignore: factors that are drawn.
        keep: factors that are drawn too if ``moved``; without, colours among them are recorded at rest.
    """
    drawn = {*ignore, *(keep if moved else ())}
    colors = {n: s if n in drawn else 0.0 for n, s in JITTER.items()}
    kept_color = bool(set(keep) & set(JITTER))
    steps: dict[str, Augmentation] = {
        "horizontal_flip": HorizontalFlip(),
        "vertical_flip": VerticalFlip(),
        "quarter_turns": QuarterTurn(),
        "rotation": Rotate((-180.0, 180.0), fill="reflect"),
        "crop": Crop(size, area=(0.2, 1.0)),
        "jitter": ColorJitter(**colors, probability=1.0 if kept_color else 0.8),
        "grayscale": Grayscale(0.5 if "grayscale" in keep else 0.2),
        "solarize": Solarize(probability=0.5 if "solarize" in keep else 0.2),
        "invert": Invert(),
        "blur": Blur(13 if "blur" in keep else 2 * max(1, size // 20) + 1),
    }
    wanted = drawn | ({"jitter"} if kept_color or drawn & set(JITTER) else set())
    return Pipeline(tuple(step for name, step in steps.items() if name in wanted))


def _targets(keep: Sequence[str]) -> dict[str, AnyTarget]:
    targets: dict[str, AnyTarget] = {}
    for name in keep:
        if name in JITTER and name != "hue":
            targets[name] = ValueChange((name,), (2 * JITTER[name],))
        else:
            targets[name] = FactorChange(_recorded(name))
    return targets


def _recorded(name: str) -> tuple[str, ...]:
    """What a factor is called in the records of the augmentation that draws it."""
    return {"crop": CROP, "blur": ("blur_sigma",)}.get(name, (name,))


def _resolved(names: Sequence[str], what: str, problems: list[str]) -> set[str]:
    """Names of factors, with those of groups and of single numbers replaced."""
    single = {r: n for n in FACTORS for r in _recorded(n)}
    found: set[str] = set()
    for name in names:
        if name in GROUPS:
            found.update(GROUPS[name])
        elif name in FACTORS or name in single:
            found.add(single.get(name, name))
        else:
            problems.append(f"{what}={name}: nothing draws {name!r}; {nearest(name, {*FACTORS, *GROUPS})}")
    return found


def _sorted(names: set[str]) -> tuple[str, ...]:
    return tuple(n for n in FACTORS if n in names)
