"""Movements within the picture that fall between pixels: rotation and translation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.augment.base import Augmentation, Moments
from equissl.augment.policy import check_choice, check_number, check_range, spread, uniform
from equissl.augment.rows import overwrite
from equissl.params import Circular, Params, Real, Space
from equissl.random import Stream

Fill = Literal["zeros", "reflect"]
_PADDING = {"zeros": "zeros", "reflect": "reflection"}


@dataclass(frozen=True)
class Rotate(Augmentation):
    """Turn a picture about its centre, counter-clockwise, bilinear (torchvision's RandomRotation).

    Args:
        degrees: range of the angle; recorded in radians.
        fill: what shows where the picture does not reach: black, or its mirror image.

    Raises:
        ValueError: a field is out of its range.
    """

    degrees: tuple[float, float] = (-30.0, 30.0)
    fill: Fill = "zeros"
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_range("Rotate.degrees", self.degrees, -360, 360)
        check_choice("Rotate.fill", self.fill, tuple(_PADDING))
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
        x, y = _centred(images)
        cosine, sine = angle.cos()[..., None], angle.sin()[..., None]
        return _look_up(images, cosine * x - sine * y, sine * x + cosine * y, self.fill)


@dataclass(frozen=True)
class Translate(Augmentation):
    """Move a picture right by ``shift_x`` of its width and down by ``shift_y`` of its height, bilinear.

    Args:
        fraction: largest shift in either direction, in [0, 1].
        fill: what shows where the picture does not reach: black, or its mirror image.

    Raises:
        ValueError: a field is out of its range.
    """

    fraction: float = 0.1
    fill: Fill = "zeros"
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_number("Translate.fraction", self.fraction)
        check_choice("Translate.fill", self.fill, tuple(_PADDING))
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
        x, y = _centred(images)
        height, width = images.shape[2:]
        return _look_up(images, x - right[..., None] * width, y - down[..., None] * height, self.fill)


def _centred(images: Tensor) -> tuple[Tensor, Tensor]:
    """Where pixels are, counted from the centre: (1, 1, W) to the right and (1, H, 1) down."""
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device, dtype=images.dtype) - (width - 1) / 2
    y = torch.arange(height, device=images.device, dtype=images.dtype) - (height - 1) / 2
    return x.view(1, 1, -1), y.view(1, -1, 1)


def _look_up(images: Tensor, x: Tensor, y: Tensor, fill: Fill) -> Tensor:
    """The picture at positions counted in pixels from its centre, broadcast to (B, H, W) each."""
    height, width = images.shape[2:]
    shape = (len(images), height, width)
    grid = torch.stack([(x * (2 / width)).expand(shape), (y * (2 / height)).expand(shape)], -1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=_PADDING[fill], align_corners=False)
