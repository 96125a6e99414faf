"""Shears of the image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import Augmentation, Moments
from equissl.augment.batched import overwrite
from equissl.augment.geometry.warp import FILLS, Fill, moved
from equissl.augment.validation import check_choice, check_number, check_range, spread, uniform
from equissl.params import Params, Real, Space
from equissl.random import Stream


@dataclass(frozen=True)
class Shear(Augmentation):
    """Slant an image about its centre, first along x, then along y, bilinear.

    A point k pixels below the centre moves left by ``shear_x`` k pixels, then one k pixels to the right of it
    up by ``shear_y`` k: torchvision's signs, whose shear angles have these numbers as tangents.

    Args:
        x, y: range of the slopes.
        fill: what shows where the image does not reach: black, or its mirror image (``warp``).

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Shear"

    x: tuple[float, float] = (-0.3, 0.3)
    y: tuple[float, float] = (-0.3, 0.3)
    fill: Fill = "zeros"
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_range("Shear.x", self.x, -math.inf)
        check_range("Shear.y", self.y, -math.inf)
        check_choice("Shear.fill", self.fill, FILLS)
        check_number("Shear.probability", self.probability)

    @property
    def space(self) -> Space:
        names = zip(("shear_x", "shear_y"), (self.x, self.y), strict=True)
        return Space(tuple(Real(n, unit="slope", scale=spread(b, self.probability)) for n, b in names))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        values = {"shear_x": stream.uniform("x", 1, *self.x), "shear_y": stream.uniform("y", 1, *self.y)}
        return Params.of(self.space, values, stream.chance("applied", self.probability))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        x, y = (params.values[name].to(images.dtype) for name in ("shear_x", "shear_y"))
        return overwrite(images.clone(), ((x != 0) | (y != 0))[:, 0], self._sheared, x, y)

    def moments(self) -> Moments:
        return uniform("shear_x", self.x, self.probability) | uniform("shear_y", self.y, self.probability)

    def _sheared(self, images: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return moved(images, self.fill, shear_x=x, shear_y=y)
