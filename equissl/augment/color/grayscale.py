"""Random grayscale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.binary import BinaryAugmentation
from equissl.augment.color.functional import luma


@dataclass(frozen=True)
class Grayscale(BinaryAugmentation):
    """Replace all channels by the luma 0.2989 R + 0.587 G + 0.114 B (torchvision's RandomGrayscale).

    Raises:
        ValueError: ``p`` is outside [0, 1].
    """

    stream_name: ClassVar[str] = "Grayscale"
    geometric: ClassVar[bool | None] = False
    factor: ClassVar[str] = "grayscale"
    native_kind: ClassVar[str] = "grayscale"

    p: float = 0.2

    def transform(self, images: Tensor) -> Tensor:
        return luma(images).expand_as(images)
