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
    """

    images: Mapping[str, Tensor]
    params: Mapping[str, Params]
    labels: Tensor
    index: Tensor

    def to(self, device: torch.device | str) -> Batch:
        images = {k: v.to(device, non_blocking=True) for k, v in self.images.items()}
        params = {k: v.to(device) for k, v in self.params.items()}
        return Batch(images, params, self.labels.to(device), self.index.to(device))
