"""Random numbers that belong to a picture, not to a moment: a hash of (seed, epoch, view, picture).

A draw is a pure function of its keys, so it does not depend on the batch a picture falls into, on the
number of workers or ranks, nor on what was drawn before; a run that is resumed draws what it would have
drawn. The hash is the finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014), in wrapping int64
arithmetic, so CPU and GPU agree bit for bit.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)


@dataclass(frozen=True)
class Stream:
    """One random stream per picture; ``keys`` is int64 of shape (B,)."""

    keys: Tensor

    @staticmethod
    def of(index: Tensor, *parts: int | str) -> Stream:
        """The streams of pictures ``index`` (B,) under ``parts``, e.g. seed, epoch, view name."""
        return Stream(_mix(index.long() * _GOLDEN ^ _hash("/".join(map(str, parts)))))

    def fork(self, name: str) -> Stream:
        """An independent stream per picture for the use called ``name``."""
        return Stream(_mix(self.keys ^ _hash(name)))

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, rows: Tensor) -> Stream:
        return Stream(self.keys[rows])

    def uniform(self, name: str, columns: int = 1, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Numbers in [low, high), float32 (B, columns); the same name gives the same numbers."""
        counters = torch.arange(1, columns + 1, device=self.keys.device) * _GOLDEN
        bits = _mix(self.fork(name).keys[:, None] + counters)
        unit = _shift(bits, 40).to(torch.float32) * 2.0**-24
        return low + (high - low) * unit

    def chance(self, name: str, probability: float) -> Tensor:
        """True with the given probability, bool (B,)."""
        return self.uniform(name)[:, 0] < probability

    def integers(self, name: str, high: int) -> Tensor:
        """Whole numbers in 0 ... high - 1, int64 (B,)."""
        return (self.uniform(name)[:, 0] * high).long().clamp(max=high - 1)

    def normal(self, name: str, columns: int = 1) -> Tensor:
        """Standard normal numbers, float32 (B, columns)."""
        u = self.uniform(name, 2 * columns)
        radius = (-2 * (1 - u[:, :columns]).log()).sqrt()
        return radius * (2 * math.pi * u[:, columns:]).cos()

    def permutation(self, name: str, size: int) -> Tensor:
        """A uniformly random order of 0 ... size - 1, int64 (B, size)."""
        return self.uniform(name, size).argsort(dim=1, stable=True)


def shuffled(count: int, *parts: int | str) -> Tensor:
    """A random order of 0 ... count - 1 that depends on ``parts`` alone, int64 (count,)."""
    return Stream.of(torch.arange(count), *parts, "shuffle").keys.argsort(dim=0, stable=True)


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _shift(x: Tensor, bits: int) -> Tensor:
    # A logical shift: torch's >> keeps the sign of int64.
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _FIRST
    x = (x ^ _shift(x, 27)) * _SECOND
    return x ^ _shift(x, 31)
