"""Zooming in and out."""

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
class Scale(UniformAugmentation):
    """Zoom in or out about the center, keeping the image's size, bilinear.

    The factor ``zoom`` is the binary logarithm of the magnification (1 is twice as large, -1 half), so that
    zooms one after the other add up. Shrinking is not antialiased (neither is torchvision's ``affine``).

    Args:
        scale: range of the magnification, above 0, log-uniform.
        padding_mode: fill outside of the image, see ``geometry.warp``.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Scale"
    geometric: ClassVar[bool | None] = True
    units: ClassVar[Mapping[str, str]] = {"zoom": "log2"}

    scale: tuple[float, float] = (0.8, 1.25)
    padding_mode: PaddingMode = "zeros"
    p: float = 1.0

    def __post_init__(self) -> None:
        check_range("Scale.scale", self.scale, 0, exclusive=True)
        super().__post_init__()

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return {"zoom": (math.log2(self.scale[0]), math.log2(self.scale[1]))}

    def transform(self, images: Tensor, *values: Tensor) -> Tensor:
        return affine_warp(images, self.padding_mode, zoom=values[0])
