"""The contract of a factor: a kind of quantity and its arithmetic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Factor(ABC):
    """One thing that varies in an image, and the arithmetic it obeys.

    Values are float tensors of shape (B, size). ``unit`` is for people: "fraction", "turns", "radians".
    """

    name: str
    unit: str = field(default="", kw_only=True)
    discrete: ClassVar[bool] = False  # a class to recognise rather than a number to regress

    @property
    def size(self) -> int:
        """Numbers a value consists of."""
        return 1

    @property
    @abstractmethod
    def encoded_size(self) -> int:
        """Numbers a network reads or predicts for this factor."""

    @abstractmethod
    def neutral(self, n: int) -> Tensor:
        """The value meaning "nothing was done": (n, size)."""

    @abstractmethod
    def between(self, source: Tensor, target: Tensor) -> Tensor:
        """What takes ``source`` to ``target``: (B, size), (B, size) -> (B, size)."""

    @abstractmethod
    def encode(self, value: Tensor) -> Tensor:
        """(B, size) -> (B, encoded_size), numbers of order one."""

    @abstractmethod
    def decode(self, encoded: Tensor) -> Tensor:
        """The value nearest to an encoding: (B, encoded_size) -> (B, size)."""

    @abstractmethod
    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        """How wrong a prediction is: (B, encoded_size), (B, size) -> (B,), at least 0."""

    def relative(self) -> Factor:
        """The factor that ``between`` yields values of."""
        return self

    def pooled(self, other: Factor) -> Factor:
        """The factor that describes values of both, when two views draw from different ranges."""
        if self != other:
            raise ValueError(f"two different factors share the name {self.name!r}: {self}, {other}")
        return self

    def alias(self, value: Tensor) -> Tensor:
        """Other numbers that mean the same value: (B, size) -> (B, size)."""
        return value

    def interpolate(self, start: Tensor, end: Tensor, fraction: float) -> Tensor:
        """The value a ``fraction`` of the way along: (B, size), (B, size) -> (B, size).

        Raises:
            TypeError: the factor has no values in between (a flip, an order).
        """
        raise TypeError(f"{self.name} has no values in between")

    def elements(self) -> Tensor:
        """Every value a finite factor can take, the neutral one first: (n, size).

        Raises:
            ValueError: the factor takes infinitely many (a hue, a pose).
        """
        raise ValueError(f"{self.name} takes any value of a range, so there is no list of all of them")

    def element(self, value: Tensor) -> Tensor:
        """Which of ``elements`` each value is: (B, size) -> (B,) int64."""
        encoded, every = self.encode(value), self.encode(self.elements().to(value, non_blocking=True))
        return torch.cdist(encoded, every).argmin(1)
