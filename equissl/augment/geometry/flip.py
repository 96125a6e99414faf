"""Random horizontal and vertical flips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.binary import BinaryAugmentation


@dataclass(frozen=True)
class HorizontalFlip(BinaryAugmentation):
    """Swap left and right (torchvision's RandomHorizontalFlip).

    Raises:
        ValueError: ``p`` is outside [0, 1].
    """

    stream_name: ClassVar[str] = "HorizontalFlip"
    geometric: ClassVar[bool | None] = True
    factor: ClassVar[str] = "horizontal_flip"
    native_kind: ClassVar[str] = "horizontal_flip"

    p: float = 0.5

    def transform(self, images: Tensor) -> Tensor:
        return images.flip(3)


@dataclass(frozen=True)
class VerticalFlip(BinaryAugmentation):
    """Swap top and bottom (torchvision's RandomVerticalFlip).

    Raises:
        ValueError: ``p`` is outside [0, 1].
    """

    stream_name: ClassVar[str] = "VerticalFlip"
    geometric: ClassVar[bool | None] = True
    factor: ClassVar[str] = "vertical_flip"
    native_kind: ClassVar[str] = "vertical_flip"

    p: float = 0.5

    def transform(self, images: Tensor) -> Tensor:
        return images.flip(2)
