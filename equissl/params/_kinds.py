"""The kinds of factors: numbers, angles, yes or no, cyclic groups, rotations of space, orders."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.params._factor import Factor


@dataclass(frozen=True)
class Real(Factor):
    """A number on a line; ``scale`` is its root-mean-square distance from ``rest``."""

    rest: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale of {self.name!r} must be above 0, got {self.scale}")

    @property
    def encoded_size(self) -> int:
        return 1

    def neutral(self, n: int) -> Tensor:
        return torch.full((n, 1), self.rest)

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        return target - source

    def encode(self, value: Tensor) -> Tensor:
        return (value - self.rest) / self.scale

    def decode(self, encoded: Tensor) -> Tensor:
        return encoded * self.scale + self.rest

    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        return (predicted - self.encode(value)).square().mean(1)

    def relative(self) -> Real:
        return replace(self, rest=0.0)

    def pooled(self, other: Factor) -> Real:
        if not isinstance(other, Real) or (other.name, other.rest) != (self.name, self.rest):
            raise ValueError(f"two different factors share the name {self.name!r}: {self}, {other}")
        if other.scale == self.scale:
            return self
        return replace(self, scale=math.sqrt((self.scale**2 + other.scale**2) / 2))

    def interpolate(self, start: Tensor, end: Tensor, fraction: float) -> Tensor:
        return start.lerp(end, fraction)


@dataclass(frozen=True)
class Circular(Factor):
    """An angle or a hue: values that differ by ``period`` are the same."""

    period: float = 2 * math.pi

    @property
    def encoded_size(self) -> int:
        return 2

    def neutral(self, n: int) -> Tensor:
        return torch.zeros(n, 1)

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        half = self.period / 2
        return (target - source + half).remainder(self.period) - half

    def encode(self, value: Tensor) -> Tensor:
        angle = value * (2 * math.pi / self.period)
        return torch.cat([angle.cos(), angle.sin()], 1)

    def decode(self, encoded: Tensor) -> Tensor:
        angle = torch.atan2(encoded[:, 1:], encoded[:, :1])
        return angle * (self.period / (2 * math.pi))

    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        return (predicted - self.encode(value)).square().mean(1)

    def alias(self, value: Tensor) -> Tensor:
        return value + self.period

    def interpolate(self, start: Tensor, end: Tensor, fraction: float) -> Tensor:
        return start + fraction * self.between(start, end)


@dataclass(frozen=True)
class Binary(Factor):
    """Done or not done: 1 or 0. A network predicts its logit."""

    discrete: ClassVar[bool] = True

    @property
    def encoded_size(self) -> int:
        return 1

    def neutral(self, n: int) -> Tensor:
        return torch.zeros(n, 1)

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        return (target - source).abs()

    def encode(self, value: Tensor) -> Tensor:
        return 2 * value - 1

    def decode(self, encoded: Tensor) -> Tensor:
        return (encoded > 0).to(encoded.dtype)

    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(predicted, value, reduction="none").squeeze(1)

    def elements(self) -> Tensor:
        return torch.tensor([[0.0], [1.0]])


@dataclass(frozen=True)
class Cyclic(Factor):
    """An element of the cyclic group of ``order`` elements, such as quarter turns.

    Also one of ``order`` levels, where a change is the difference of their numbers, modulo ``order``.
    """

    order: int = 4
    discrete: ClassVar[bool] = True

    @property
    def encoded_size(self) -> int:
        return self.order

    def neutral(self, n: int) -> Tensor:
        return torch.zeros(n, 1)

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        return (target - source).remainder(self.order)

    def encode(self, value: Tensor) -> Tensor:
        kind = value.squeeze(1).round().long().remainder(self.order)
        return F.one_hot(kind, self.order).to(value.dtype)

    def decode(self, encoded: Tensor) -> Tensor:
        return encoded.argmax(1, keepdim=True).to(encoded.dtype)

    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        return F.cross_entropy(predicted, self.encode(value), reduction="none")

    def alias(self, value: Tensor) -> Tensor:
        return value + self.order

    def elements(self) -> Tensor:
        return torch.arange(self.order, dtype=torch.float32)[:, None]


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


@dataclass(frozen=True)
class Permutation(Factor):
    """An order of ``length`` things: entry k is which of them comes k-th. Encoded as a matrix."""

    length: int = 4

    @property
    def size(self) -> int:
        return self.length

    @property
    def encoded_size(self) -> int:
        return self.length**2

    def neutral(self, n: int) -> Tensor:
        return torch.arange(self.length, dtype=torch.float32).repeat(n, 1)

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        position = source.argsort(1)
        return target.gather(1, position)

    def encode(self, value: Tensor) -> Tensor:
        return F.one_hot(value.round().long(), self.length).to(value.dtype).flatten(1)

    def decode(self, encoded: Tensor) -> Tensor:
        scores = encoded.reshape(-1, self.length, self.length)
        chosen = []
        for k in range(self.length):  # greedy: each place takes the best thing that is left
            best = scores[:, k].argmax(1, keepdim=True)
            chosen.append(best)
            scores = scores.scatter(2, best[:, None].expand(-1, self.length, 1), -torch.inf)
        return torch.cat(chosen, 1).to(encoded.dtype)

    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        logits = predicted.reshape(-1, self.length, self.length).transpose(1, 2)
        return F.cross_entropy(logits, value.round().long(), reduction="none").mean(1)

    def elements(self) -> Tensor:
        """The 24 orders, lexicographically."""
        return torch.tensor(list(itertools.permutations(range(self.length))), dtype=torch.float32)


@dataclass(frozen=True)
class Seed(Factor):
    """The seed of a generator as two whole numbers below 2^24, which float32 holds exactly; -1 is none.

    It is there for replays: its encoding is empty, so that no network reads or predicts it.
    """

    @property
    def size(self) -> int:
        return 2

    @property
    def encoded_size(self) -> int:
        return 0

    def neutral(self, n: int) -> Tensor:
        return torch.full((n, 2), -1.0)

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        same = (source == target).all(1, keepdim=True)
        return torch.where(same, torch.full_like(target, -1.0), target)

    def encode(self, value: Tensor) -> Tensor:
        return value[:, :0]

    def decode(self, encoded: Tensor) -> Tensor:
        return self.neutral(len(encoded)).to(encoded)

    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        return value.new_zeros(len(value))


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
