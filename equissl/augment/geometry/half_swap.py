"""Random swap of the upper and the lower half."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.binary import BinaryAugmentation
from equissl.augment.validation import check_even
from equissl.params import Params
from equissl.random import Stream


@dataclass(frozen=True)
class HalfSwap(BinaryAugmentation):
    """Swap the upper and the lower half of an image.

    Raises:
        ValueError: ``p`` is outside [0, 1], or an image's sides are odd.
    """

    stream_name: ClassVar[str] = "HalfSwap"
    geometric: ClassVar[bool | None] = True
    factor: ClassVar[str] = "half_swap"

    p: float = 0.5

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        check_even(size)
        return super().sample(stream, size)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        check_even((images.shape[2], images.shape[3]))
        return super().apply(images, params)

    def transform(self, images: Tensor) -> Tensor:
        return images.roll(images.shape[2] // 2, 2)
