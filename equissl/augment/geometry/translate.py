"""Random translation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.geometry.warp import PaddingMode, affine_warp
from equissl.augment.uniform import UniformAugmentation
from equissl.augment.validation import check_between


@dataclass(frozen=True)
class Translate(UniformAugmentation):
    """Translate to the right by ``shift_x`` of its width and down by ``shift_y`` of its height, bilinear.

    Args:
        translate: largest shift in either direction, in [0, 1].
        padding_mode: fill outside of the image, see ``geometry.warp``.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Translate"
    geometric: ClassVar[bool | None] = True
    units: ClassVar[Mapping[str, str]] = {"shift_x": "fraction", "shift_y": "fraction"}

    translate: float = 0.1
    padding_mode: PaddingMode = "zeros"
    p: float = 1.0

    def __post_init__(self) -> None:
        check_between("Translate.translate", self.translate)
        super().__post_init__()

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return dict.fromkeys(self.units, (-self.translate, self.translate))

    def transform(self, images: Tensor, *values: Tensor) -> Tensor:
        right, down = values
        height, width = images.shape[2:]
        return affine_warp(images, self.padding_mode, right=right * width, down=down * height)
