"""Discrete factors: binary, cyclic groups, permutations."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.config.validation import MAX_WIDTH, check_bounds
from equissl.params._factor import Factor


@dataclass(frozen=True)
class Binary(Factor):
    """A binary value, 1 (applied) or 0; networks predict its logit."""

    discrete: ClassVar[bool] = True

    @property
    def encoded_size(self) -> int:
        return 1

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

    Also one of ``order`` levels, where a change is the difference of their indices modulo ``order``.

    Args:
        levels: what the elements are called, by index; empty if they have no names.
    """

    order: int = 4
    levels: tuple[str, ...] = ()
    discrete: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_bounds(self, "order", low=1, high=MAX_WIDTH)
        if self.levels and len(self.levels) != self.order:
            raise ValueError(f"levels has {len(self.levels)} names, but order is {self.order}")

    @property
    def encoded_size(self) -> int:
        return self.order

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        return (target - source).remainder(self.order)

    def encode(self, value: Tensor) -> Tensor:
        index = value.squeeze(1).round().long().remainder(self.order)
        return F.one_hot(index, self.order).to(value.dtype)

    def decode(self, encoded: Tensor) -> Tensor:
        return encoded.argmax(1, keepdim=True).to(encoded.dtype)

    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        return F.cross_entropy(predicted, self.encode(value), reduction="none")

    def alias(self, value: Tensor) -> Tensor:
        return value + self.order

    def elements(self) -> Tensor:
        return torch.arange(self.order, dtype=torch.float32)[:, None]


@dataclass(frozen=True)
class Permutation(Factor):
    """A permutation of ``length`` items, entry k the index of the k-th; encoded as a permutation matrix."""

    length: int = 4

    def __post_init__(self) -> None:
        check_bounds(self, "length", low=1, high=1024)

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
        order = []
        for k in range(self.length):  # greedy: each position takes the best item left
            best = scores[:, k].argmax(1, keepdim=True)
            order.append(best)
            scores = scores.scatter(2, best[:, None].expand(-1, self.length, 1), -torch.inf)
        return torch.cat(order, 1).to(encoded.dtype)

    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        logits = predicted.reshape(-1, self.length, self.length).transpose(1, 2)
        return F.cross_entropy(logits, value.round().long(), reduction="none").mean(1)

    def elements(self) -> Tensor:
        """All permutations, lexicographically."""
        return torch.tensor(list(itertools.permutations(range(self.length))), dtype=torch.float32)
