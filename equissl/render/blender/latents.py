"""Latents of 3DIEBench: the factors of an image, as stored (arXiv:2302.10283, section 4).

Seven numbers per image: Euler angles x, y, z of the object in radians (R = Rz Ry Rx), hue of the floor,
polar angle and azimuth of the spot light, its hue; with a shift three more, the object's centre before the
rotation. An image's numbers depend on (seed, class, object, view) alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from equissl.errors import UserError, nearest
from equissl.random import Stream
from equissl.render.solids.scene import uniform_rotation

Kind = Literal["euler", "uniform"]


@dataclass(frozen=True, kw_only=True)
class Latents:
    """Distribution of the latents; the defaults are 3DIEBench's.

    Args:
        rotations: "euler": independent Euler angles; "uniform": uniform over all rotations.
        angles: (min, max) absolute value of each Euler angle in degrees; (90, 180) is the range of
            3DIEBench-OOD.
        shift: maximum translation along each axis, in units of the object's size; 0.5 is 3DIEBench-T's.
        seed: of all latents and built-in meshes.
    """

    rotations: Kind = "euler"
    angles: tuple[float, float] = (0.0, 90.0)
    shift: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.rotations not in get_args(Kind):
            problems.append(
                f"rotations={self.rotations!r} does not exist; {nearest(self.rotations, get_args(Kind))}"
            )
        low, high = self.angles
        if not 0 <= low < high <= 180:
            problems.append(
                f"angles must be two values in degrees with 0 <= low < high <= 180, got {low},{high}"
            )
        if self.rotations == "uniform" and self.angles != (0.0, 90.0):
            problems.append("angles are for rotations=euler. Leave out one of the two")
        if not 0 <= self.shift <= 1:
            problems.append(f"shift must be in [0, 1], got {self.shift}")
        if problems:
            raise UserError(problems)

    @property
    def width(self) -> int:
        return 10 if self.shift else 7

    def sample(self, kind: str, name: str, views: Tensor) -> Tensor:
        """Latents of the views (V,) int64 of an object: (V, 7) or (V, 10), float64."""
        stream = Stream.of(views, self.seed, "3diebench", kind, name)
        if self.rotations == "uniform":
            euler = euler_angles(uniform_rotation(stream.uniform("rotation", 3)))
        else:
            low, high = (math.radians(a) for a in self.angles)
            sign = 1 - 2 * stream.uniform("sign", 3).round()
            euler = (sign * stream.uniform("angle", 3, low, high)).double()
        light = [
            stream.uniform("floor_hue"),
            stream.uniform("light_polar", 1, 0, math.pi / 4),
            stream.uniform("light_azimuth", 1, 0, 2 * math.pi),
            stream.uniform("light_hue"),
        ]
        translation = [stream.uniform("shift", 3, -self.shift, self.shift)] if self.shift else []
        return torch.cat([euler, *(x.double() for x in (*light, *translation))], 1)


def euler_angles(quaternion: Tensor) -> Tensor:
    """Angles (x, y, z) with R = Rz Ry Rx, y within a quarter turn: (B, 4) -> (B, 3), float64."""
    w, x, y, z = quaternion.double().unbind(1)
    about_x = torch.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    about_y = torch.asin((2 * (w * y - z * x)).clamp(-1, 1))
    about_z = torch.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return torch.stack([about_x, about_y, about_z], 1)
