"""Corrections that depend on the image's own grey levels: stretched contrast and equalised histogram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation, Moments
from equissl.augment.batched import overwrite
from equissl.augment.geometry.flip import is_on, sample_switch
from equissl.augment.validation import check_number, switch
from equissl.params import Binary, Params, Space
from equissl.random import Stream

_LEVELS = 256


@dataclass(frozen=True)
class AutoContrast(Augmentation):
    """Stretch each channel to reach from 0 to 1 (torchvision's RandomAutocontrast).

    A channel with a single level is clipped to [0, 1] and otherwise left.

    Raises:
        ValueError: ``probability`` is outside [0, 1].
    """

    stream_name: ClassVar[str] = "AutoContrast"

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_number("AutoContrast.probability", self.probability)

    @property
    def space(self) -> Space:
        return Space((Binary("auto_contrast"),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        return sample_switch(self.space, stream, self.probability)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return overwrite(images.clone(), is_on(params, "auto_contrast"), _stretched)

    def moments(self) -> Moments:
        return switch("auto_contrast", self.probability)


@dataclass(frozen=True)
class Equalize(Augmentation):
    """Make all 256 grey levels of each channel about equally frequent (torchvision's RandomEqualize).

    Images are rounded to 8 bits first, as in torchvision; the result has 256 levels.

    Raises:
        ValueError: ``probability`` is outside [0, 1].
    """

    stream_name: ClassVar[str] = "Equalize"

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_number("Equalize.probability", self.probability)

    @property
    def space(self) -> Space:
        return Space((Binary("equalize"),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        return sample_switch(self.space, stream, self.probability)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return overwrite(images.clone(), is_on(params, "equalize"), _equalized)

    def moments(self) -> Moments:
        return switch("equalize", self.probability)


def _stretched(images: Tensor) -> Tensor:
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = (high == low).to(images.dtype)
    low, width = low * (1 - flat), (high - low) + flat
    return (images - low).div_(width).clamp_(0, 1)


def _equalized(images: Tensor) -> Tensor:
    # torchvision's rounding: each of the 256 levels is hit by an equal share of [0, 1].
    level = (images.clamp(0, 1) * (_LEVELS - 1e-3)).long().flatten(2)
    ones = torch.ones((), dtype=torch.int32, device=images.device).expand(level.shape)
    count = torch.zeros(*level.shape[:2], _LEVELS, dtype=torch.int32, device=images.device)
    count.scatter_add_(2, level, ones)
    below = count.cumsum(2) - count
    # Pillow's rule: the brightest level that occurs does not count, and steps are whole numbers of pixels.
    brightest = count.gather(2, level.amax(2, keepdim=True))
    step = (level.shape[2] - brightest).div(_LEVELS - 1, rounding_mode="floor")
    table = (below + step // 2).div(step.clamp(min=1), rounding_mode="floor").clamp(0, _LEVELS - 1)
    table = torch.where(step > 0, table, torch.arange(_LEVELS, device=images.device))
    return (table.gather(2, level).to(images.dtype) / (_LEVELS - 1)).view_as(images)
