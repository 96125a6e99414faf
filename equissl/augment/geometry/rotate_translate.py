"""Movements within the image that fall between pixels: rotation and translation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import Augmentation, Moments
from equissl.augment.batched import overwrite
from equissl.augment.geometry.warp import FILLS, Fill, moved
from equissl.augment.validation import check_choice, check_number, check_range, spread, uniform
from equissl.params import Circular, Params, Real, Space
from equissl.random import Stream


@dataclass(frozen=True)
class Rotate(Augmentation):
    """Turn an image about its centre, counter-clockwise, bilinear (torchvision's RandomRotation).

    Args:
        degrees: range of the angle; recorded in radians.
        fill: what shows where the image does not reach: black, or its mirror image (``warp``).

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Rotate"

    degrees: tuple[float, float] = (-30.0, 30.0)
    fill: Fill = "zeros"
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_range("Rotate.degrees", self.degrees, -360, 360)
        check_choice("Rotate.fill", self.fill, FILLS)
        check_number("Rotate.probability", self.probability)

    @property
    def space(self) -> Space:
        return Space((Circular("rotation", unit="radians"),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        angle = stream.uniform("angle", 1, *self._radians)
        return Params.of(self.space, {"rotation": angle}, stream.chance("applied", self.probability))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        angle = params.values["rotation"].to(images.dtype)
        return overwrite(images.clone(), angle[:, 0] != 0, self._rotated, angle)

    def moments(self) -> Moments:
        return uniform("rotation", self._radians, self.probability)

    @property
    def _radians(self) -> tuple[float, float]:
        return math.radians(self.degrees[0]), math.radians(self.degrees[1])

    def _rotated(self, images: Tensor, angle: Tensor) -> Tensor:
        return moved(images, self.fill, angle=angle)


@dataclass(frozen=True)
class Translate(Augmentation):
    """Move an image right by ``shift_x`` of its width and down by ``shift_y`` of its height, bilinear.

    Args:
        fraction: largest shift in either direction, in [0, 1].
        fill: what shows where the image does not reach: black, or its mirror image (``warp``).

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Translate"

    fraction: float = 0.1
    fill: Fill = "zeros"
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_number("Translate.fraction", self.fraction)
        check_choice("Translate.fill", self.fill, FILLS)
        check_number("Translate.probability", self.probability)

    @property
    def space(self) -> Space:
        scale = spread(self._bounds, self.probability)
        return Space(tuple(Real(n, unit="fraction", scale=scale) for n in ("shift_x", "shift_y")))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        values = {n: stream.uniform(n, 1, *self._bounds) for n in self.space.names}
        return Params.of(self.space, values, stream.chance("applied", self.probability))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        right, down = (params.values[n].to(images.dtype) for n in ("shift_x", "shift_y"))
        moved = ((right != 0) | (down != 0))[:, 0]
        return overwrite(images.clone(), moved, self._moved, right, down)

    def moments(self) -> Moments:
        x = uniform("shift_x", self._bounds, self.probability)
        return x | uniform("shift_y", self._bounds, self.probability)

    @property
    def _bounds(self) -> tuple[float, float]:
        return -self.fraction, self.fraction

    def _moved(self, images: Tensor, right: Tensor, down: Tensor) -> Tensor:
        height, width = images.shape[2:]
        return moved(images, self.fill, right=right * width, down=down * height)
