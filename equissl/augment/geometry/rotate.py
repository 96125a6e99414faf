"""Random rotation by any angle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.geometry.warp import PaddingMode, affine_warp
from equissl.augment.uniform import UniformAugmentation
from equissl.augment.validation import check_range
from equissl.params import Circular, Space


@dataclass(frozen=True)
class Rotate(UniformAugmentation):
    """Rotate about the center, counter-clockwise, bilinear (torchvision's RandomRotation).

    Args:
        degrees: range of the angle; recorded in radians.
        padding_mode: fill outside of the image, see ``geometry.warp``.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Rotate"
    geometric: ClassVar[bool | None] = True
    units: ClassVar[Mapping[str, str]] = {"rotation": "radians"}
    stream_keys: ClassVar[Mapping[str, str]] = {"rotation": "angle"}

    degrees: tuple[float, float] = (-30.0, 30.0)
    padding_mode: PaddingMode = "zeros"
    p: float = 1.0

    def __post_init__(self) -> None:
        check_range("Rotate.degrees", self.degrees, -360, 360)
        super().__post_init__()

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return {"rotation": (math.radians(self.degrees[0]), math.radians(self.degrees[1]))}

    @property
    def space(self) -> Space:
        return Space((Circular("rotation", unit="radians"),))

    def transform(self, images: Tensor, *values: Tensor) -> Tensor:
        return affine_warp(images, self.padding_mode, angle=values[0])
