"""Fewer gray levels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.batched import apply_where, per_image
from equissl.augment.moments import Moments, applied_moments
from equissl.augment.validation import check_between, check_range
from equissl.params import Params, Real, Space
from equissl.random import Stream

_ALL = 8


@dataclass(frozen=True)
class Posterize(Augmentation):
    """Keep a few bits of every value, rounding down to a multiple of 2^-bits (torchvision's RandomPosterize).

    As in torchvision on floats, 1 becomes 1 - 2^-bits. Eight bits are all that an image has: where
    torchvision's float function still rounds to 256 levels, this leaves the image as it is. A number of
    bits between two whole ones counts as the nearest.

    Args:
        bits: range of the whole number of bits, within [0, 8], both ends included.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Posterize"
    geometric: ClassVar[bool | None] = False

    bits: tuple[int, int] = (3, 6)
    p: float = 0.5

    def __post_init__(self) -> None:
        check_range("Posterize.bits", self.bits, 0, _ALL)
        check_between("Posterize.p", self.p)

    @property
    def space(self) -> Space:
        square = self.p * float((self._levels - _ALL).square().mean())
        scale = math.sqrt(square) if square > 0 else 1.0
        return Space((Real("posterize_bits", unit="bits", neutral_value=_ALL, scale=scale),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        low, high = self.bits
        bits = (low + stream.integers("bits", high - low + 1)).float()[:, None]
        return Params.of(self.space, {"posterize_bits": bits}, stream.chance("applied", self.p))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        bits = params.values["posterize_bits"].round().long()
        return apply_where(images, bits[:, 0] < _ALL, _posterized, bits)

    def moments(self) -> Moments:
        p, bits = self.p, self._levels
        first, second = (p * (bits**k).mean() + (1 - p) * _ALL**k for k in (1, 2))
        return {"posterize_bits": (first[None], second[None]), **applied_moments("posterize_bits", p)}

    @property
    def _levels(self) -> Tensor:
        return torch.arange(self.bits[0], self.bits[1] + 1, dtype=torch.float64)


def _posterized(images: Tensor, bits: Tensor) -> Tensor:
    levels = per_image(torch.ones_like(bits) << bits.clamp(min=0)).to(images.dtype)
    return (images * levels).floor_().clamp_(min=0).minimum(levels - 1) / levels
