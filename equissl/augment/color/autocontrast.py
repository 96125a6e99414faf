"""Random autocontrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.binary import BinaryAugmentation


@dataclass(frozen=True)
class AutoContrast(BinaryAugmentation):
    """Stretch each channel to the range [0, 1] (torchvision's RandomAutocontrast).

    A constant channel is only clipped to [0, 1].

    Raises:
        ValueError: ``p`` is outside [0, 1].
    """

    stream_name: ClassVar[str] = "AutoContrast"
    geometric: ClassVar[bool | None] = False
    factor: ClassVar[str] = "auto_contrast"

    p: float = 0.5

    def transform(self, images: Tensor) -> Tensor:
        low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
        constant = (high == low).to(images.dtype)
        low, width = low * (1 - constant), (high - low) + constant
        return (images - low).div_(width).clamp_(0, 1)
