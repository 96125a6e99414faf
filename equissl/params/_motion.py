"""Rigid motions of the plane, SE(2)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from equissl.params._factor import Factor


@dataclass(frozen=True)
class RigidMotion(Factor):
    """Rotation and translation, (angle, right, down): p moves to R(angle) p + (right, down).

    The angle is in radians, counter-clockwise as seen with y pointing down; ``scale`` is the
    root-mean-square shift along one axis. ``between(g, h)`` is g^-1 h, the motion in the frame of the image
    that g moved, so it does not depend on where both started; ``interpolate`` goes along a screw.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale of {self.name!r} must be above 0, got {self.scale}")

    @property
    def size(self) -> int:
        return 3

    @property
    def encoded_size(self) -> int:
        return 4

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        change = target - source
        angle = (change[:, :1] + math.pi).remainder(2 * math.pi) - math.pi
        return torch.cat([angle, _rotate(change[:, 1:], -source[:, :1])], 1)

    def encode(self, value: Tensor) -> Tensor:
        angle = value[:, :1]
        return torch.cat([angle.cos(), angle.sin(), value[:, 1:] / self.scale], 1)

    def decode(self, encoded: Tensor) -> Tensor:
        angle = torch.atan2(encoded[:, 1:2], encoded[:, :1])
        return torch.cat([angle, encoded[:, 2:] * self.scale], 1)

    def pooled(self, other: Factor) -> RigidMotion:
        if not isinstance(other, RigidMotion) or other.name != self.name:
            raise ValueError(f"two different factors share the name {self.name!r}: {self}, {other}")
        if other.scale == self.scale:
            return self
        return replace(self, scale=math.sqrt((self.scale**2 + other.scale**2) / 2))

    def alias(self, value: Tensor) -> Tensor:
        return torch.cat([value[:, :1] + 2 * math.pi, value[:, 1:]], 1)

    def interpolate(self, start: Tensor, end: Tensor, fraction: float) -> Tensor:
        change = self.between(start, end)
        angle, shift = change[:, :1], change[:, 1:]
        # A screw of angle a and velocity v shifts by sinc(a / 2) R(a / 2) v; torch's sinc has a pi in it.
        velocity = _rotate(shift, -angle / 2) / (angle / (2 * math.pi)).sinc()
        part = fraction * angle
        moved = _rotate(fraction * velocity, part / 2) * (part / (2 * math.pi)).sinc()
        return torch.cat([start[:, :1] + part, start[:, 1:] + _rotate(moved, start[:, :1])], 1)


def _rotate(shift: Tensor, angle: Tensor) -> Tensor:
    right, down = shift[:, :1], shift[:, 1:]
    cosine, sine = angle.cos(), angle.sin()
    return torch.cat([cosine * right + sine * down, cosine * down - sine * right], 1)
