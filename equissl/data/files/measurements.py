"""What is known of image files beside their labels: measured factors and groups."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.params import Params, Space


@dataclass(frozen=True)
class Measurements:
    """Factors and groups of N images.

    Args:
        params: N values of every factor.
        groups: (N,) int64.
        paired: whether images of one group are partners of each other.
    """

    params: Params
    groups: Tensor
    paired: bool = False

    @staticmethod
    def none(count: int) -> Measurements:
        """No factors, and every image its own group."""
        return Measurements(Params.of(Space(), {}, count=count), torch.arange(count))

    def select(self, rows: Tensor) -> Measurements:
        """Those of the images ``rows``, (n,) int64."""
        return Measurements(self.params[rows], self.groups[rows], self.paired)
