"""Rotations of space as unit quaternions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.params._factor import Factor


@dataclass(frozen=True)
class Rotation(Factor):
    """A rotation of space as a unit quaternion (w, x, y, z); q and -q are the same rotation.

    ``between(p, q)`` is conj(p) q, the rotation in the frame of the source object.

    Args:
        keep_sign: encode with the sign that the product gave, as SIE's released code does (with SciPy from
            1.11 on); q and -q are then two different numbers for one rotation.
    """

    keep_sign: bool = False

    @property
    def size(self) -> int:
        return 4

    @property
    def encoded_size(self) -> int:
        return 4

    def neutral(self, n: int) -> Tensor:
        return torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1)

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        return quaternion_product(torch.cat([source[:, :1], -source[:, 1:]], 1), target)

    def encode(self, value: Tensor) -> Tensor:
        if self.keep_sign:
            return value
        # The sign of the first component that is not zero decides, so half turns have one encoding too.
        first = value.abs().gt(1e-9).to(torch.uint8).argmax(1, keepdim=True)
        return torch.where(value.gather(1, first) < 0, -value, value)

    def decode(self, encoded: Tensor) -> Tensor:
        return F.normalize(encoded, dim=1)

    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        return 1 - F.cosine_similarity(predicted, value, dim=1).square()

    def alias(self, value: Tensor) -> Tensor:
        return value if self.keep_sign else -value

    def interpolate(self, start: Tensor, end: Tensor, fraction: float) -> Tensor:
        cosine = (start * end).sum(1, keepdim=True)
        end = torch.where(cosine < 0, -end, end)
        angle = cosine.abs().clamp(max=1 - 1e-6).acos()
        mixed = ((1 - fraction) * angle).sin() * start + (fraction * angle).sin() * end
        return F.normalize(mixed, dim=1)


def quaternion_product(p: Tensor, q: Tensor) -> Tensor:
    """Hamilton product of quaternions (w, x, y, z): (B, 4), (B, 4) -> (B, 4)."""
    pw, px, py, pz = p.unbind(1)
    qw, qx, qy, qz = q.unbind(1)
    product = [
        pw * qw - px * qx - py * qy - pz * qz,
        pw * qx + px * qw + py * qz - pz * qy,
        pw * qy - px * qz + py * qw + pz * qx,
        pw * qz + px * qy - py * qx + pz * qw,
    ]
    return torch.stack(product, 1)


def euler_quaternion(angles: Tensor) -> Tensor:
    """Turns about the world's x, then y, then z axis, R = Rz Ry Rx: (B, 3) radians -> (B, 4), float64."""
    half = angles.double() / 2
    cosine, sine = half.cos(), half.sin()
    turns = []
    for axis in range(3):
        turn = torch.zeros(len(angles), 4, dtype=torch.float64, device=angles.device)
        turn[:, 0], turn[:, 1 + axis] = cosine[:, axis], sine[:, axis]
        turns.append(turn)
    x, y, z = turns
    return quaternion_product(z, quaternion_product(y, x))
