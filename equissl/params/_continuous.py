"""Continuous factors: real numbers and angles."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from equissl.config.validation import check_bounds
from equissl.params._factor import Factor


@dataclass(frozen=True)
class Real(Factor):
    """A real number; ``scale`` is its root-mean-square distance from ``neutral_value``."""

    neutral_value: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale of {self.name!r} must be above 0, got {self.scale}")

    @property
    def encoded_size(self) -> int:
        return 1

    def neutral(self, n: int) -> Tensor:
        return torch.full((n, 1), self.neutral_value)

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        return target - source

    def encode(self, value: Tensor) -> Tensor:
        return (value - self.neutral_value) / self.scale

    def decode(self, encoded: Tensor) -> Tensor:
        return encoded * self.scale + self.neutral_value

    def relative(self) -> Real:
        return replace(self, neutral_value=0.0)

    def pooled(self, other: Factor) -> Real:
        if not isinstance(other, Real) or (other.name, other.neutral_value) != (
            self.name,
            self.neutral_value,
        ):
            raise ValueError(f"two different factors share the name {self.name!r}: {self}, {other}")
        if other.scale == self.scale:
            return self
        return replace(self, scale=math.sqrt((self.scale**2 + other.scale**2) / 2))

    def interpolate(self, start: Tensor, end: Tensor, fraction: float) -> Tensor:
        return start.lerp(end, fraction)


@dataclass(frozen=True)
class Circular(Factor):
    """A periodic number, such as an angle or a hue; values that differ by ``period`` are equal."""

    period: float = 2 * math.pi

    def __post_init__(self) -> None:
        check_bounds(self, "period", above=0)

    @property
    def encoded_size(self) -> int:
        return 2

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        half = self.period / 2
        return (target - source + half).remainder(self.period) - half

    def encode(self, value: Tensor) -> Tensor:
        angle = value * (2 * math.pi / self.period)
        return torch.cat([angle.cos(), angle.sin()], 1)

    def decode(self, encoded: Tensor) -> Tensor:
        angle = torch.atan2(encoded[:, 1:], encoded[:, :1])
        return angle * (self.period / (2 * math.pi))

    def alias(self, value: Tensor) -> Tensor:
        return value + self.period

    def interpolate(self, start: Tensor, end: Tensor, fraction: float) -> Tensor:
        return start + fraction * self.between(start, end)
