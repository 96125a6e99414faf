"""Factors with an empty encoding, kept for replays and encoders: patch masks and random seeds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.params._factor import Factor

PATCH_MASK = "patch_mask"  # name of the factor that holds the masked patches of a view


class _ReplayOnly(Factor):
    """A factor whose encoding is empty."""

    @property
    def encoded_size(self) -> int:
        return 0

    def encode(self, value: Tensor) -> Tensor:
        return value[:, :0]

    def decode(self, encoded: Tensor) -> Tensor:
        return self.neutral(len(encoded)).to(encoded)

    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        return value.new_zeros(len(value))


@dataclass(frozen=True)
class Mask(_ReplayOnly):
    """Mask of image patches, row by row: 1 is masked, 0 visible.

    Kept for encoders and replays; its encoding is empty, so that no network predicts it.
    """

    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count of {self.name!r} must be at least 1, got {self.count}")

    @property
    def size(self) -> int:
        return self.count

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        return target - source


@dataclass(frozen=True)
class Seed(_ReplayOnly):
    """Seed of a random generator as two integers below 2^24, which float32 holds exactly; -1 is none.

    Kept for replays; its encoding is empty, so that no network reads or predicts it.
    """

    @property
    def size(self) -> int:
        return 2

    def neutral(self, n: int) -> Tensor:
        return torch.full((n, 2), -1.0)

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        same = (source == target).all(1, keepdim=True)
        return torch.where(same, torch.full_like(target, -1.0), target)
