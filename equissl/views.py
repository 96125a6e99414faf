"""Views: augmented images of a batch with the recorded parameters of their augmentations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from equissl.augment.base import Augmentation, Identity, Orbit
from equissl.augment.engine import Engine, render
from equissl.augment.moments import varies
from equissl.augment.record import recompute
from equissl.augment.replay_check import check_replay
from equissl.config.validation import Checked
from equissl.data.batch import Batch
from equissl.errors import UserError, nearest
from equissl.params import PATCH_MASK, Factor, Params, Space, interpolate


@dataclass(frozen=True)
class View:
    """Images (B, C, h, w) with the recorded parameters of their augmentation."""

    images: Tensor
    params: Params

    @property
    def mask(self) -> Tensor | None:
        """(B, patches), row by row, 1 where the mask token replaces a patch; None without ``PatchMask``."""
        return self.params.values.get(PATCH_MASK)


@dataclass(frozen=True)
class Fresh(Checked):
    """Sample new augmentation parameters for this view (the default)."""


@dataclass(frozen=True)
class SameAs(Checked):
    """Reuse the augmentation parameters of another view, on another image (CARE, STL)."""

    view: str


@dataclass(frozen=True)
class Between(Checked):
    """Interpolate the augmentation parameters of two other views (intermediate reconstruction).

    Args:
        start, end: earlier views. A start of "" is ``end`` with ``factors`` at their neutral values.
        fraction: position between start and end, in [0, 1].
        factors: those that are interpolated, the others are those of ``end``; all of them if empty.

    Raises:
        ValueError: the fraction is outside [0, 1], or a start of "" without factors.
    """

    start: str
    end: str
    fraction: float = 0.5
    factors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"Between.fraction must be in [0, 1], got {self.fraction}")
        if not self.start and not self.factors:
            raise ValueError("Between.start is '', so Between.factors must name the neutral factors")


@dataclass(frozen=True)
class ViewSpec(Checked):
    """How one view is made from a batch.

    Args:
        augment: the augmentation.
        image: name of the image of the batch that is augmented.
        draw: where its parameters come from: new, another view's, or between those of two earlier views.
        orbit: a group whose elements are all applied after the augmentation.
        encode: False for an image that only serves as a target.
    """

    augment: Augmentation = Identity()
    image: str = "image"
    draw: Fresh | SameAs | Between = Fresh()
    orbit: Orbit | None = None
    encode: bool = True

    def space(self, known: Space) -> Space:
        """The factors recorded for this view, given those the dataset knows for its image."""
        return known + self.augment.space + (self.orbit.space if self.orbit else Space())


def intermediate_views(
    view: str, spec: ViewSpec, factors: tuple[str, ...], count: int = 2
) -> dict[str, ViewSpec]:
    """Intermediate targets between ``view`` with ``factors`` neutral and ``view`` itself (arXiv:2503.18753).

    They are called "intermediate_1" to "intermediate_COUNT"; number k is made from the source directly, with
    k / (count + 1) of every parameter, and is not encoded.

    Args:
        spec: how ``view`` is made.

    Raises:
        ValueError: ``count`` is below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    fractions = {f"intermediate_{k}": k / (count + 1) for k in range(1, count + 1)}
    return {n: replace(spec, draw=Between("", view, f, factors), encode=False) for n, f in fractions.items()}


def make_views(
    batch: Batch, specs: Mapping[str, ViewSpec], seed: int, epoch: int = 0, engine: Engine = "torch"
) -> dict[str, View]:
    """Make the views of a batch, in the order of ``specs``, so that one may refer to earlier ones.

    Each (seed, epoch, view name, image) has its own random stream: adding a view, or changing the
    batch an image falls into, does not change the other parameters.

    Returns:
        view name -> float images in [0, 1] with their parameters.
    """
    views: dict[str, View] = {}
    draws: dict[str, Params] = {}
    for name, spec in specs.items():
        images, known = batch.images[spec.image], batch.params[spec.image]
        match spec.draw:
            case Fresh():
                index, size = batch.index.to(images.device), (images.shape[-2], images.shape[-1])
                draws[name] = recompute(spec.augment, seed, epoch, index, name, size)
            case SameAs(view):
                draws[name] = draws[view]
            case Between(start, end, fraction, factors):
                draws[name] = _between(draws.get(start), draws[end], fraction, factors)
        images, params = render(spec.augment, images, draws[name], engine), known | draws[name]
        if spec.orbit is not None:
            images, params = spec.orbit.expand(images, params)
        views[name] = View(images, params)
    return views


def check_replays(specs: Mapping[str, ViewSpec], batch: Batch) -> None:
    """Check on a few images that the augmentation of every view can be replayed, see ``check_replay``.

    Raises:
        UserError: naming the view and the step that cannot, or that fails on these images.
    """
    checked: set[tuple[int, str]] = set()
    for name, spec in specs.items():
        key = (id(spec.augment), spec.image)  # views often share one
        if key not in checked:
            checked.add(key)
            try:
                check_replay(spec.augment, batch.images[spec.image])
            except (UserError, ValueError) as error:
                raise UserError(f"views.{name}.augment: {error}") from error


def check_interpolated(specs: Mapping[str, ViewSpec]) -> None:
    """Every factor that a view interpolates is one of both views, and can be interpolated or never differs.

    Raises:
        UserError: naming the views and factors.
    """
    problems = []
    for name, spec in specs.items():
        if isinstance(spec.draw, Between):
            problems += [f"views.{name}.draw: {p}" for p in _interpolation_problems(specs, spec.draw)]
    if problems:
        raise UserError(problems)


def _interpolation_problems(specs: Mapping[str, ViewSpec], draw: Between) -> list[str]:
    end = specs[_drawn(specs, draw.end)].augment
    start = specs[_drawn(specs, draw.start)].augment if draw.start else None
    names = draw.factors or end.space.names
    ends = {draw.end: end} if start is None else {draw.start: start, draw.end: end}
    missing = [
        f"view {view!r} has no factor {n!r}; {nearest(n, augment.space.names)}"
        for view, augment in ends.items()
        for n in names
        if n not in augment.space.names
    ]
    if missing or (start and _drawn(specs, draw.start) == _drawn(specs, draw.end)):
        return missing
    other = end.space if start is None else start.space
    unlike = [n for n in names if other.select([n]) != end.space.select([n])]
    if unlike:
        return [f"the ranges of {', '.join(unlike)} differ between {draw.start!r} and {draw.end!r}"]
    fixed = [f.name for f in end.space if f.name in names and not _interpolates(f)]
    fixed = [n for n in fixed if start is None or not _always_equal(start, end, n)]
    return [f"{', '.join(fixed)} cannot be interpolated; name others in draw.factors"] if fixed else []


def _drawn(specs: Mapping[str, ViewSpec], view: str) -> str:
    """The view whose draw ``view`` has."""
    draw = specs[view].draw
    return _drawn(specs, draw.view) if isinstance(draw, SameAs) else view


def _interpolates(factor: Factor) -> bool:
    try:
        factor.interpolate(factor.neutral(1), factor.neutral(1), 0.5)
    except TypeError:
        return False
    return True


def _always_equal(first: Augmentation, second: Augmentation, name: str) -> bool:
    """Whether a factor has one value, which does not depend on the draw, in both."""
    (mean, square), (other, other_square) = first.moments()[name], second.moments()[name]
    constant = not varies(mean, square).any() and not varies(other, other_square).any()
    return constant and bool(torch.allclose(mean, other))


def joint_mask(views: Sequence[View]) -> Tensor | None:
    """The masks of several views, concatenated; zeros for a view without one, None if no view has one."""
    masks = [view.mask for view in views if view.mask is not None]
    if not masks:
        return None
    patches = masks[0].shape[1]
    return torch.cat(
        [v.images.new_zeros(len(v.images), patches) if v.mask is None else v.mask for v in views]
    )


def _between(start: Params | None, end: Params, fraction: float, factors: tuple[str, ...]) -> Params:
    last = end.select(factors or end.space.names)
    first = last.space.neutral(end.count).filled(last.space, end.device) if start is None else start
    middle = interpolate(first.select(last.space.names), last, fraction)
    return Params(end.space, {**end.values, **middle.values}, {**end.applied, **middle.applied}, end.count)
