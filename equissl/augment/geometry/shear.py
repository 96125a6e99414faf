"""Shears of the image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.batched import apply_where
from equissl.augment.geometry.warp import PADDING_MODES, PaddingMode, affine_warp
from equissl.augment.moments import Moments, rms_scale, uniform_moments
from equissl.augment.validation import check_between, check_choice, check_range
from equissl.params import Params, Real, Space
from equissl.random import Stream


@dataclass(frozen=True)
class Shear(Augmentation):
    """Shear about the center, first along x, then along y, bilinear.

    A point k pixels below the center moves left by ``shear_x`` k pixels, then one k pixels to the right of it
    up by ``shear_y`` k: torchvision's signs, whose shear angles have these numbers as tangents.

    Args:
        shear_x, shear_y: range of the slopes.
        padding_mode: fill outside of the image, see ``geometry.warp``.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Shear"

    shear_x: tuple[float, float] = (-0.3, 0.3)
    shear_y: tuple[float, float] = (-0.3, 0.3)
    padding_mode: PaddingMode = "zeros"
    p: float = 1.0

    def __post_init__(self) -> None:
        check_range("Shear.shear_x", self.shear_x, -math.inf)
        check_range("Shear.shear_y", self.shear_y, -math.inf)
        check_choice("Shear.padding_mode", self.padding_mode, PADDING_MODES)
        check_between("Shear.p", self.p)

    @property
    def space(self) -> Space:
        names = zip(("shear_x", "shear_y"), (self.shear_x, self.shear_y), strict=True)
        return Space(tuple(Real(n, unit="slope", scale=rms_scale(b, self.p)) for n, b in names))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        values = {
            "shear_x": stream.uniform("x", 1, *self.shear_x),
            "shear_y": stream.uniform("y", 1, *self.shear_y),
        }
        return Params.of(self.space, values, stream.chance("applied", self.p))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        x, y = (params.values[name].to(images.dtype) for name in ("shear_x", "shear_y"))
        return apply_where(images.clone(), ((x != 0) | (y != 0))[:, 0], self._sheared, x, y)

    def moments(self) -> Moments:
        return uniform_moments("shear_x", self.shear_x, self.p) | uniform_moments(
            "shear_y", self.shear_y, self.p
        )

    def _sheared(self, images: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return affine_warp(images, self.padding_mode, shear_x=x, shear_y=y)
