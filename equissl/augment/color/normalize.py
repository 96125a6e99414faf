"""Shift and scale of channels, and the constants of common data sets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import FixedAugmentation, NativeStep
from equissl.params import Params

Channels = tuple[float, ...]


@dataclass(frozen=True)
class Normalize(FixedAugmentation):
    """Subtract ``mean`` and divide by ``std``, per channel; the recipes do so inside the encoder.

    Raises:
        ValueError: a standard deviation is not above 0, or there are not as many as means.
    """

    stream_name: ClassVar[str] = "Normalize"
    geometric: ClassVar[bool | None] = False

    mean: Channels = (0.5, 0.5, 0.5)
    std: Channels = (0.25, 0.25, 0.25)

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ValueError(f"Normalize needs one mean and std per channel, got {self.mean} and {self.std}")
        if not all(0 < s < math.inf for s in self.std):
            raise ValueError(f"Normalize.std must be above 0 in every channel, got {self.std}")
        if not all(math.isfinite(m) for m in self.mean):
            raise ValueError(f"Normalize.mean must be finite in every channel, got {self.mean}")

    def apply(self, images: Tensor, params: Params) -> Tensor:
        result = torch.empty_like(images)
        channels = zip(images.unbind(1), result.unbind(1), self.mean, self.std, strict=True)
        for source, target, mean, std in channels:
            torch.sub(source, mean, out=target).div_(std)
        return result

    def native(self, params: Params) -> NativeStep | None:
        if len(self.mean) != 3:
            return None
        return NativeStep("normalize", floats=(*self.mean, 0.0, *self.std, 1.0))


# EquiMod's released code (arXiv:2211.01244); the second is torchvision's.
CIFAR10 = Normalize(mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.243, 0.261))
IMAGENET = Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# AugSelf's released code (arXiv:2111.09613).
STL10 = Normalize(mean=(0.43, 0.42, 0.39), std=(0.27, 0.26, 0.27))
