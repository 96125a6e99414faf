"""Shears of the image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.geometry.warp import PaddingMode, affine_warp
from equissl.augment.uniform import UniformAugmentation
from equissl.augment.validation import check_range


@dataclass(frozen=True)
class Shear(UniformAugmentation):
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
    geometric: ClassVar[bool | None] = True
    units: ClassVar[Mapping[str, str]] = {"shear_x": "slope", "shear_y": "slope"}
    stream_keys: ClassVar[Mapping[str, str]] = {"shear_x": "x", "shear_y": "y"}

    shear_x: tuple[float, float] = (-0.3, 0.3)
    shear_y: tuple[float, float] = (-0.3, 0.3)
    padding_mode: PaddingMode = "zeros"
    p: float = 1.0

    def __post_init__(self) -> None:
        check_range("Shear.shear_x", self.shear_x, -math.inf)
        check_range("Shear.shear_y", self.shear_y, -math.inf)
        super().__post_init__()

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return {"shear_x": self.shear_x, "shear_y": self.shear_y}

    def transform(self, images: Tensor, *values: Tensor) -> Tensor:
        return affine_warp(images, self.padding_mode, shear_x=values[0], shear_y=values[1])
