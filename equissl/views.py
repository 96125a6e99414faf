"""From a batch of samples to the views an objective compares, each with the record of how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.augment.alone import recompute
from equissl.augment.base import Augmentation, Identity, Orbit
from equissl.augment.engine import Engine, render
from equissl.params import Params, Space, interpolate


@dataclass(frozen=True)
class Batch:
    """Samples as they leave a dataset.

    Args:
        pictures: name -> (B, C, H, W), uint8 or float in [0, 1].
        params: name -> the factors known for that picture (an empty space for photographs).
        labels: (B,) int64, -1 where unknown.
        index: (B,) int64, which samples these are; random streams belong to them.
    """

    pictures: Mapping[str, Tensor]
    params: Mapping[str, Params]
    labels: Tensor
    index: Tensor

    def to(self, device: torch.device | str) -> Batch:
        pictures = {k: v.to(device, non_blocking=True) for k, v in self.pictures.items()}
        params = {k: v.to(device) for k, v in self.params.items()}
        return Batch(pictures, params, self.labels.to(device), self.index.to(device))


@dataclass(frozen=True)
class View:
    """Pictures (B, C, h, w) and how they came to be."""

    images: Tensor
    params: Params


@dataclass(frozen=True)
class Fresh:
    """Draw the augmentation anew."""


@dataclass(frozen=True)
class SameAs:
    """Reuse another view's draw: one change, two pictures (CARE, STL)."""

    view: str


@dataclass(frozen=True)
class Between:
    """A point on the way between two other views' draws (reconstruction of the way)."""

    start: str
    end: str
    fraction: float = 0.5


@dataclass(frozen=True)
class ViewSpec:
    """How one view is made from a batch.

    Args:
        picture: which picture of the batch is augmented.
        draw: anew, as another view, or between two views that stand before this one.
        orbit: every element of a group applied after the augmentation.
        encode: False for a picture that only serves as a target.
    """

    augment: Augmentation = Identity()
    picture: str = "image"
    draw: Fresh | SameAs | Between = Fresh()
    orbit: Orbit | None = None
    encode: bool = True

    def space(self, known: Space) -> Space:
        """The factors recorded for this view, given those the dataset knows for its picture."""
        return known + self.augment.space + (self.orbit.space if self.orbit else Space())


def make_views(
    batch: Batch, specs: Mapping[str, ViewSpec], seed: int, epoch: int = 0, engine: Engine = "torch"
) -> dict[str, View]:
    """Make float views in the order of ``specs``, so that one may refer to those before it.

    Each (seed, epoch, view name, picture) has its own random stream: adding a view, or changing the
    batch a picture falls into, leaves the other draws as they were.
    """
    views: dict[str, View] = {}
    draws: dict[str, Params] = {}
    for name, spec in specs.items():
        images, known = batch.pictures[spec.picture], batch.params[spec.picture]
        match spec.draw:
            case Fresh():
                index, size = batch.index.to(images.device), (images.shape[-2], images.shape[-1])
                draws[name] = recompute(spec.augment, seed, epoch, index, name, size)
            case SameAs(view):
                draws[name] = draws[view]
            case Between(start, end, fraction):
                draws[name] = interpolate(draws[start], draws[end], fraction)
        images, params = render(spec.augment, images, draws[name], engine), known | draws[name]
        if spec.orbit is not None:
            images, params = spec.orbit.expand(images, params)
        views[name] = View(images, params)
    return views
