"""``Batch``: images, factors and labels of some samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.params import Params


@dataclass(frozen=True)
class Batch:
    """Images, labelled factors, labels and indices of some samples of a dataset.

    Args:
        images: name -> (B, C, H, W), uint8 or float in [0, 1].
        params: name -> the labelled factors of that image (an empty space for photographs).
        labels: (B,) int64, -1 where unknown.
        index: (B,) int64, index of each sample in its dataset; keys of the random streams.
        replaced: (B,) bool on the CPU, whether another stands in for a sample that cannot be decoded; None if
            there is none.
    """

    images: Mapping[str, Tensor]
    params: Mapping[str, Params]
    labels: Tensor
    index: Tensor
    replaced: Tensor | None = None

    def readable(self) -> Batch:
        """Without the samples that another stands in for."""
        if self.replaced is None or not bool(self.replaced.any()):
            return self
        rows = (~self.replaced).nonzero()[:, 0]
        images = {k: v[rows.to(v.device)] for k, v in self.images.items()}
        params = {k: v[rows.to(v.device or "cpu")] for k, v in self.params.items()}
        own = rows.to(self.index.device)
        return Batch(images, params, self.labels[own], self.index[own])

    def to(self, device: torch.device | str) -> Batch:
        images = {k: v.to(device, non_blocking=True) for k, v in self.images.items()}
        params = {k: v.to(device) for k, v in self.params.items()}
        return Batch(images, params, self.labels.to(device), self.index.to(device), self.replaced)
