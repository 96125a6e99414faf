"""Resize and center crop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from equissl.augment.base import FixedAugmentation
from equissl.augment.geometry.resample import Interpolation
from equissl.augment.validation import MAX_SIDE, check_at_least
from equissl.params import Params


@dataclass(frozen=True)
class Resize(FixedAugmentation):
    """Resize the short side, antialiased, then center-crop (torchvision's Resize and CenterCrop).

    Args:
        size: side of the result in pixels.
        short_side: length of the short side before the crop, ``size`` if 0.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Resize"
    geometric: ClassVar[bool | None] = True

    size: int
    short_side: int = 0
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        check_at_least("Resize.size", self.size, 1, MAX_SIDE)
        if self.short_side:
            check_at_least("Resize.short_side", self.short_side, self.size, MAX_SIDE)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        height, width = images.shape[2:]
        short = self.short_side or self.size
        # In this order, as torchvision rounds down the long side after the multiplication.
        tall, wide = (int(short * n / min(height, width)) for n in (height, width))
        if (tall, wide) != (height, width):
            images = F.interpolate(images, (tall, wide), mode=self.interpolation, antialias=True)
        top, left = round((tall - self.size) / 2), round((wide - self.size) / 2)
        return images[:, :, top : top + self.size, left : left + self.size]

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return (self.size, self.size)

    @classmethod
    def example(cls) -> Resize:
        return cls(size=16, short_side=20)
