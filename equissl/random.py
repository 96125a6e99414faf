"""Random numbers that belong to an image, not to a moment: a hash of (seed, epoch, view, image).

A draw is a pure function of its keys, so it does not depend on the batch an image falls into, on the
number of workers or ranks, nor on what was drawn before; a run that is resumed draws what it would have
drawn. The hash is the finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014), in wrapping int64
arithmetic, so CPU and GPU agree bit for bit.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)


@dataclass(frozen=True)
class Stream:
    """One random stream per image; ``keys`` is int64 of shape (B,)."""

    keys: Tensor

    @staticmethod
    def of(index: Tensor, *parts: int | str) -> Stream:
        """The streams of images ``index`` (B,) under ``parts``, e.g. seed, epoch, view name."""
        return Stream(_mix(index.long() * _GOLDEN ^ _hash("/".join(map(str, parts)))))

    def fork(self, name: str) -> Stream:
        """An independent stream per image for the use called ``name``."""
        return Stream(_mix(self.keys ^ _hash(name)))

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, rows: Tensor) -> Stream:
        return Stream(self.keys[rows])

    def uniform(self, name: str, columns: int = 1, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Numbers in [low, high), float32 (B, columns); the same name gives the same numbers."""
        return low + (high - low) * self.units(**{name: columns})[name]

    def units(self, **columns: int) -> dict[str, Tensor]:
        """``uniform(name, columns)`` for several names at once, which takes as many operations as for one."""
        names, owner, counter = _layout(tuple(columns.items()), self.keys.device)
        bits = _mix(_mix(self.keys[:, None] ^ names).index_select(1, owner) + counter)
        unit = _shift(bits, 40).to(torch.float32).mul_(2.0**-24)
        return dict(zip(columns, torch.split(unit, list(columns.values()), 1), strict=True))

    def chance(self, name: str, probability: float) -> Tensor:
        """True with the given probability, bool (B,)."""
        return self.uniform(name)[:, 0] < probability

    def integers(self, name: str, high: int) -> Tensor:
        """Whole numbers in 0 ... high - 1, int64 (B,)."""
        return (self.uniform(name)[:, 0] * high).long().clamp(max=high - 1)

    def normal(self, name: str, columns: int = 1) -> Tensor:
        """Standard normal numbers, float32 (B, columns)."""
        return to_normal(self.uniform(name, 2 * columns))

    def permutation(self, name: str, size: int) -> Tensor:
        """A uniformly random order of 0 ... size - 1, int64 (B, size)."""
        return self.uniform(name, size).argsort(dim=1, stable=True)


def to_normal(units: Tensor) -> Tensor:
    """Standard normal numbers from uniform ones in [0, 1): (..., 2 n) -> (..., n)."""
    a, b = units.chunk(2, -1)
    return (-2 * (1 - a).log()).sqrt() * (2 * math.pi * b).cos()


def shuffled(count: int, *parts: int | str) -> Tensor:
    """A random order of 0 ... count - 1 that depends on ``parts`` alone, int64 (count,)."""
    return Stream.of(torch.arange(count), *parts, "shuffle").keys.argsort(dim=0, stable=True)


@contextmanager
def generators_restored() -> Iterator[None]:
    """Restore the global generators of torch (on the CPU), numpy and Python afterwards."""
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])


@lru_cache
def _layout(columns: tuple[tuple[str, int], ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The hashes of the names, which name each column belongs to, and its number within that name."""
    names = torch.tensor([_hash(name) for name, _ in columns])
    owner = torch.tensor([k for k, (_, count) in enumerate(columns) for _ in range(count)])
    counter = torch.cat([torch.arange(1, count + 1) for _, count in columns]) * _GOLDEN
    return names.to(device), owner.to(device), counter.to(device)


@lru_cache(1024)
def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _shift(x: Tensor, bits: int) -> Tensor:
    # A logical shift: torch's >> keeps the sign of int64.
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = _shift(x, 30).bitwise_xor_(x).mul_(_FIRST)
    x = _shift(x, 27).bitwise_xor_(x).mul_(_SECOND)
    return _shift(x, 31).bitwise_xor_(x)
