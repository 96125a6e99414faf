"""Interface of a factor of variation: its values, their arithmetic and their encoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from equissl.config.validation import Checked


@dataclass(frozen=True)
class Factor(Checked, ABC):
    """A factor of variation of images and its arithmetic.

    Values are float tensors of shape (B, size). ``unit`` is for display: "fraction", "turns", "radians".
    """

    name: str
    unit: str = field(default="", kw_only=True)
    discrete: ClassVar[bool] = False  # predicted by classification rather than regression

    @property
    def size(self) -> int:
        """Number of components of a value."""
        return 1

    @property
    @abstractmethod
    def encoded_size(self) -> int:
        """Number of components of the encoding that networks read or predict."""

    def neutral(self, n: int) -> Tensor:
        """The value that leaves an image unchanged: (n, size), zeros unless a factor has another."""
        return torch.zeros(n, self.size)

    @abstractmethod
    def between(self, source: Tensor, target: Tensor) -> Tensor:
        """The change from ``source`` to ``target``: (B, size), (B, size) -> (B, size)."""

    @abstractmethod
    def encode(self, value: Tensor) -> Tensor:
        """Encoding for networks, of order one: (B, size) -> (B, encoded_size)."""

    @abstractmethod
    def decode(self, encoded: Tensor) -> Tensor:
        """The value nearest to an encoding: (B, encoded_size) -> (B, size)."""

    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        """Error of predictions, at least 0: (B, encoded_size), (B, size) -> (B,).

        The mean squared error of the encoding, unless a factor has another.
        """
        return (predicted - self.encode(value)).square().mean(1)

    def relative(self) -> Factor:
        """The factor of the values that ``between`` returns."""
        return self

    def pooled(self, other: Factor) -> Factor:
        """One factor for the values of both, where two views sample from different ranges."""
        if self != other:
            raise ValueError(f"two different factors share the name {self.name!r}: {self}, {other}")
        return self

    def alias(self, value: Tensor) -> Tensor:
        """Another representation of the same value (q and -q): (B, size) -> (B, size)."""
        return value

    def interpolate(self, start: Tensor, end: Tensor, fraction: float) -> Tensor:
        """The value a ``fraction`` of the way from start to end: (B, size), (B, size) -> (B, size).

        Raises:
            TypeError: the factor cannot be interpolated (a flip, an order).
        """
        raise TypeError(f"{self.name} cannot be interpolated")

    def elements(self) -> Tensor:
        """Every value a finite factor can take, the neutral one first: (n, size).

        Raises:
            ValueError: the factor has infinitely many values (a hue, a pose).
        """
        raise ValueError(f"{self.name} is continuous and has no finite list of values")

    def element(self, value: Tensor) -> Tensor:
        """Index of each value in ``elements``: (B, size) -> (B,) int64."""
        encoded, elements = self.encode(value), self.encode(self.elements().to(value, non_blocking=True))
        return torch.cdist(encoded, elements).argmin(1)
