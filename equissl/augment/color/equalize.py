"""Random histogram equalization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.binary import BinaryAugmentation

_NUM_LEVELS = 256


@dataclass(frozen=True)
class Equalize(BinaryAugmentation):
    """Make all 256 gray levels of each channel about equally frequent (torchvision's RandomEqualize).

    Images are rounded to 8 bits first, as in torchvision; the result has 256 levels.

    Raises:
        ValueError: ``p`` is outside [0, 1].
    """

    stream_name: ClassVar[str] = "Equalize"
    geometric: ClassVar[bool | None] = False
    factor: ClassVar[str] = "equalize"

    p: float = 0.5

    def transform(self, images: Tensor) -> Tensor:
        # torchvision's rounding: each of the 256 levels is an equal part of [0, 1].
        level = (images.clamp(0, 1) * (_NUM_LEVELS - 1e-3)).long().flatten(2)
        ones = torch.ones((), dtype=torch.int32, device=images.device).expand(level.shape)
        count = torch.zeros(*level.shape[:2], _NUM_LEVELS, dtype=torch.int32, device=images.device)
        count.scatter_add_(2, level, ones)
        below = count.cumsum(2) - count
        # Pillow's rule: the brightest level that occurs does not count, and steps are integers.
        brightest = count.gather(2, level.amax(2, keepdim=True))
        step = (level.shape[2] - brightest).div(_NUM_LEVELS - 1, rounding_mode="floor")
        table = (below + step // 2).div(step.clamp(min=1), rounding_mode="floor").clamp(0, _NUM_LEVELS - 1)
        table = torch.where(step > 0, table, torch.arange(_NUM_LEVELS, device=images.device))
        return (table.gather(2, level).to(images.dtype) / (_NUM_LEVELS - 1)).view_as(images)
