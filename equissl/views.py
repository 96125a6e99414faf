"""From a batch of samples to the views an objective compares, each with the record of how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from equissl.augment.base import Augmentation, Identity, Orbit
from equissl.augment.engine import Engine, render
from equissl.augment.record import recompute
from equissl.data.batch import Batch
from equissl.params import Params, Space, interpolate


@dataclass(frozen=True)
class View:
    """Images (B, C, h, w) and how they came to be."""

    images: Tensor
    params: Params


@dataclass(frozen=True)
class Fresh:
    """Draw the augmentation anew."""


@dataclass(frozen=True)
class SameAs:
    """Reuse another view's draw: one change, two images (CARE, STL)."""

    view: str


@dataclass(frozen=True)
class Between:
    """A point on the way between two other views' draws (reconstruction of the way).

    Args:
        start, end: views that stand before this one. A start of "" is ``end`` without ``factors``.
        fraction: of the way, in [0, 1].
        factors: which ones are moved, the others are those of ``end``; all of them if empty.

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
            raise ValueError("Between.start is '', so Between.factors must name what was not done there")


@dataclass(frozen=True)
class ViewSpec:
    """How one view is made from a batch.

    Args:
        image: which image of the batch is augmented.
        draw: anew, as another view, or between two views that stand before this one.
        orbit: every element of a group applied after the augmentation.
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
    """Images at equal distances between ``view`` with nothing done to ``factors`` and ``view`` itself.

    They are called "way_1" to "way_COUNT"; number k is made from the source directly with k / (count + 1) of
    every value, and only serves as a target (arXiv:2503.18753).

    Args:
        spec: how ``view`` is made.

    Raises:
        ValueError: ``count`` is below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    places = {f"way_{k}": k / (count + 1) for k in range(1, count + 1)}
    return {n: replace(spec, draw=Between("", view, p, factors), encode=False) for n, p in places.items()}


def make_views(
    batch: Batch, specs: Mapping[str, ViewSpec], seed: int, epoch: int = 0, engine: Engine = "torch"
) -> dict[str, View]:
    """Make float views in the order of ``specs``, so that one may refer to those before it.

    Each (seed, epoch, view name, image) has its own random stream: adding a view, or changing the
    batch an image falls into, leaves the other draws as they were.
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


def _between(start: Params | None, end: Params, fraction: float, factors: tuple[str, ...]) -> Params:
    moved = end.select(factors or end.space.names)
    first = moved.space.neutral(end.count).filled(moved.space, end.device) if start is None else start
    way = interpolate(first.select(moved.space.names), moved, fraction)
    return Params(end.space, {**end.values, **way.values}, {**end.applied, **way.applied}, end.count)
