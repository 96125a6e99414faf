"""Rigid motions of the image: a turn and a shift as one element of SE(2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.batched import apply_where
from equissl.augment.geometry.warp import PaddingMode, affine_warp
from equissl.augment.moments import Moments, applied_moments, rms_scale, uniform_moments
from equissl.augment.validation import check_between, check_range
from equissl.params import Params, RigidMotion, Space
from equissl.random import Stream


@dataclass(frozen=True)
class SE2(Augmentation):
    """Rotate about the center, then translate, bilinear; recorded as one rigid motion.

    The factor ``motion`` is (angle, right, down): radians counter-clockwise, and shifts as fractions of the
    image's *shorter* side, one length for both axes so that motions compose. Zero is the identity.

    Args:
        degrees: range of the angle.
        translate: largest shift along either axis, in [0, 1].
        padding_mode: fill outside of the image, see ``geometry.warp``.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "SE2"
    geometric: ClassVar[bool | None] = True

    degrees: tuple[float, float] = (-180.0, 180.0)
    translate: float = 0.1
    padding_mode: PaddingMode = "zeros"
    p: float = 1.0

    def __post_init__(self) -> None:
        check_range("SE2.degrees", self.degrees, -360, 360)
        check_between("SE2.translate", self.translate)
        check_between("SE2.p", self.p)

    @property
    def space(self) -> Space:
        scale = rms_scale((-self.translate, self.translate), self.p)
        return Space((RigidMotion("motion", unit="radians, fraction, fraction", scale=scale),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        ranges = zip(("angle", "right", "down"), self._ranges, strict=True)
        motion = torch.cat([stream.uniform(name, 1, *bounds) for name, bounds in ranges], 1)
        return Params.of(self.space, {"motion": motion}, stream.chance("applied", self.p))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        motion = params.values["motion"].to(images.dtype)
        return apply_where(images, (motion != 0).any(1), self._moved, motion)

    def moments(self) -> Moments:
        parts = [uniform_moments("part", bounds, self.p)["part"] for bounds in self._ranges]
        first, second = (torch.cat(rows) for rows in zip(*parts, strict=True))
        return {"motion": (first, second), **applied_moments("motion", self.p)}

    @property
    def _ranges(self) -> tuple[tuple[float, float], ...]:
        shift = (-self.translate, self.translate)
        return (math.radians(self.degrees[0]), math.radians(self.degrees[1])), shift, shift

    def _moved(self, images: Tensor, motion: Tensor) -> Tensor:
        angle, right, down = motion[:, :1], motion[:, 1:2], motion[:, 2:]
        side = min(images.shape[2:])
        return affine_warp(images, self.padding_mode, angle=angle, right=right * side, down=down * side)
