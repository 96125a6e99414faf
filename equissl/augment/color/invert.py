"""Random color inversion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.binary import BinaryAugmentation


@dataclass(frozen=True)
class Invert(BinaryAugmentation):
    """Replace x by 1 - x (torchvision's RandomInvert).

    Raises:
        ValueError: ``p`` is outside [0, 1].
    """

    stream_name: ClassVar[str] = "Invert"
    geometric: ClassVar[bool | None] = False
    factor: ClassVar[str] = "invert"
    native_kind: ClassVar[str] = "invert"

    p: float = 0.5

    def transform(self, images: Tensor) -> Tensor:
        return 1 - images
