"""Random rotation by any angle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.batched import apply_where
from equissl.augment.geometry.warp import PADDING_MODES, PaddingMode, affine_warp
from equissl.augment.moments import Moments, uniform_moments
from equissl.augment.validation import check_between, check_choice, check_range
from equissl.params import Circular, Params, Space
from equissl.random import Stream


@dataclass(frozen=True)
class Rotate(Augmentation):
    """Rotate about the center, counter-clockwise, bilinear (torchvision's RandomRotation).

    Args:
        degrees: range of the angle; recorded in radians.
        padding_mode: fill outside of the image, see ``geometry.warp``.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Rotate"

    degrees: tuple[float, float] = (-30.0, 30.0)
    padding_mode: PaddingMode = "zeros"
    p: float = 1.0

    def __post_init__(self) -> None:
        check_range("Rotate.degrees", self.degrees, -360, 360)
        check_choice("Rotate.padding_mode", self.padding_mode, PADDING_MODES)
        check_between("Rotate.p", self.p)

    @property
    def space(self) -> Space:
        return Space((Circular("rotation", unit="radians"),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        angle = stream.uniform("angle", 1, *self._radians)
        return Params.of(self.space, {"rotation": angle}, stream.chance("applied", self.p))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        angle = params.values["rotation"].to(images.dtype)
        return apply_where(images.clone(), angle[:, 0] != 0, self._rotated, angle)

    def moments(self) -> Moments:
        return uniform_moments("rotation", self._radians, self.p)

    @property
    def _radians(self) -> tuple[float, float]:
        return math.radians(self.degrees[0]), math.radians(self.degrees[1])

    def _rotated(self, images: Tensor, angle: Tensor) -> Tensor:
        return affine_warp(images, self.padding_mode, angle=angle)
