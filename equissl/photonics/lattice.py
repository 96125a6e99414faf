"""The square and the hexagonal lattice of the unit cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from equissl.config.validation import Checked

Shape = Literal["square", "hexagonal"]


@dataclass(frozen=True)
class Lattice(Checked):
    """Two primitive vectors of length 1 (the period a), at 90 degrees (square) or 120 (hexagonal).

    A cell is an array (rows, columns) over the parallelogram of the two: columns run along the first vector
    (x of a square cell), rows along the second (y).

    Raises:
        ValueError: another shape.
    """

    shape: Shape = "square"

    @property
    def area(self) -> float:
        """Of the cell, in a^2."""
        return 1.0 if self.shape == "square" else math.sqrt(3) / 2

    @property
    def primitive(self) -> Tensor:
        """(2, 2) float64, one vector per row, in a."""
        second = (0.0, 1.0) if self.shape == "square" else (-0.5, math.sqrt(3) / 2)
        return torch.tensor([(1.0, 0.0), second], dtype=torch.float64)

    @property
    def reciprocal(self) -> Tensor:
        """(2, 2) float64, one vector per row, in 2 pi / a: ``primitive @ reciprocal.T`` is the identity."""
        inverse: Tensor = torch.linalg.inv(self.primitive)
        return inverse.T.contiguous()
