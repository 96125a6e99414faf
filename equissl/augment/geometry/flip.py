"""Random horizontal and vertical flips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import NativeStep
from equissl.augment.binary import BinaryAugmentation
from equissl.params import Params


@dataclass(frozen=True)
class HorizontalFlip(BinaryAugmentation):
    """Swap left and right (torchvision's RandomHorizontalFlip).

    Raises:
        ValueError: ``p`` is outside [0, 1].
    """

    stream_name: ClassVar[str] = "HorizontalFlip"
    factor: ClassVar[str] = "horizontal_flip"

    p: float = 0.5

    def transform(self, images: Tensor) -> Tensor:
        return images.flip(3)

    def native(self, params: Params) -> NativeStep:
        return NativeStep("horizontal_flip", params.values["horizontal_flip"])


@dataclass(frozen=True)
class VerticalFlip(BinaryAugmentation):
    """Swap top and bottom (torchvision's RandomVerticalFlip).

    Raises:
        ValueError: ``p`` is outside [0, 1].
    """

    stream_name: ClassVar[str] = "VerticalFlip"
    factor: ClassVar[str] = "vertical_flip"

    p: float = 0.5

    def transform(self, images: Tensor) -> Tensor:
        return images.flip(2)

    def native(self, params: Params) -> NativeStep:
        return NativeStep("vertical_flip", params.values["vertical_flip"])
