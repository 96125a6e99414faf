"""``Batch``: images, factors and labels of some samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.distributed import to_device
from equissl.errors import UserError
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

    Raises:
        UserError: images of another kind, or a part with another number of rows.
    """

    images: Mapping[str, Tensor]
    params: Mapping[str, Params]
    labels: Tensor
    index: Tensor
    replaced: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.index)
        for name, images in self.images.items():
            if not isinstance(images, Tensor):
                raise UserError(f"data: images {name!r} are a {type(images).__name__}, expected a tensor")
            if images.dim() != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
                raise UserError(
                    f"data: images {name!r} must be (B, C, H, W), uint8 or float in [0, 1], got "
                    f"{tuple(images.shape)} {images.dtype}"
                )
            if images.requires_grad:
                raise UserError(f"data: images {name!r} require a gradient; return images.detach()")
        rows = {f"images {n!r}": len(v) for n, v in self.images.items()}
        rows |= {f"params {n!r}": v.count for n, v in self.params.items()}
        for name, found in {**rows, "labels": len(self.labels)}.items():
            if found != count:
                raise UserError(f"data: a batch of {count} samples has {found} rows of {name}")

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
        images = {k: to_device(v, device) for k, v in self.images.items()}
        params = {k: v.to(device) for k, v in self.params.items()}
        labels, index = to_device(self.labels, device), to_device(self.index, device)
        return Batch(images, params, labels, index, self.replaced)
