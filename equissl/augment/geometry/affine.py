"""Affine maps of the image, by their parts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.geometry.warp import PaddingMode, affine_warp
from equissl.augment.uniform import UniformAugmentation
from equissl.augment.validation import check_between, check_range
from equissl.params import Circular, Space

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Affine(UniformAugmentation):
    """Shear, zoom and rotate about the center, then translate; bilinear (torchvision's RandomAffine).

    Factors: ``rotation`` in radians counter-clockwise (torchvision's affine counts clockwise); ``shift_x``
    and ``shift_y`` as fractions of width and height, right and down; ``zoom``, the binary logarithm of the
    magnification; ``shear_x`` and ``shear_y``, the tangents of torchvision's shear angles, since tangents
    of shears along one axis add up. They are those of Rotate, Translate, Scale and Shear.

    Args:
        degrees: range of the rotation.
        translate: largest shift along x and y, in [0, 1].
        scale: range of the magnification, above 0, log-uniform (torchvision: uniformly).
        shear_x, shear_y: range of the slopes.
        padding_mode: fill outside of the image, see ``geometry.warp``.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Affine"
    geometric: ClassVar[bool | None] = True
    units: ClassVar[Mapping[str, str]] = {
        "rotation": "radians",
        "shift_x": "fraction",
        "shift_y": "fraction",
        "zoom": "log2",
        "shear_x": "slope",
        "shear_y": "slope",
    }

    degrees: Bounds = (-30.0, 30.0)
    translate: tuple[float, float] = (0.1, 0.1)
    scale: Bounds = (0.8, 1.25)
    shear_x: Bounds = (-0.2, 0.2)
    shear_y: Bounds = (0.0, 0.0)
    padding_mode: PaddingMode = "zeros"
    p: float = 1.0

    def __post_init__(self) -> None:
        check_range("Affine.degrees", self.degrees, -360, 360)
        for most in self.translate:
            check_between("Affine.translate", most)
        check_range("Affine.scale", self.scale, 0, exclusive=True)
        check_range("Affine.shear_x", self.shear_x, -math.inf)
        check_range("Affine.shear_y", self.shear_y, -math.inf)
        super().__post_init__()

    @property
    def space(self) -> Space:
        return Space((Circular("rotation", unit="radians"), *super().space.factors[1:]))

    @property
    def bounds(self) -> dict[str, Bounds]:
        return {
            "rotation": (math.radians(self.degrees[0]), math.radians(self.degrees[1])),
            "shift_x": (-self.translate[0], self.translate[0]),
            "shift_y": (-self.translate[1], self.translate[1]),
            "zoom": (math.log2(self.scale[0]), math.log2(self.scale[1])),
            "shear_x": self.shear_x,
            "shear_y": self.shear_y,
        }

    def transform(self, images: Tensor, *values: Tensor) -> Tensor:
        angle, right, down, zoom, shear_x, shear_y = values
        height, width = images.shape[2:]
        shift = {"right": right * width, "down": down * height}
        shape = {"zoom": zoom, "shear_x": shear_x, "shear_y": shear_y}
        return affine_warp(images, self.padding_mode, angle=angle, **shift, **shape)
