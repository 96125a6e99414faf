"""Blur and solarization with a few discrete levels, so that a network can classify the level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.color.solarize import Solarize
from equissl.augment.filters.gaussian_blur import GaussianBlur
from equissl.augment.moments import Moments, applied_moments
from equissl.augment.validation import check_at_least, check_between
from equissl.params import Cyclic, Params, Space
from equissl.random import Stream


@dataclass(frozen=True)
class BlurLevels(Augmentation):
    """No blur or one of a few Gaussian blurs (E-SSL's four-fold blur, arXiv:2111.00899, section 3).

    Level 0 is no blur, level k the k-th kernel_size with torchvision's default standard deviation,
    0.3 ((kernel_size - 1) / 2 - 1) + 0.8 pixels.

    Args:
        kernel_sizes: widths of the filters in pixels, odd, at least 3, each another.
        p: probability of drawing a level, uniformly (level 0 too); otherwise there is no blur.

    Raises:
        ValueError: a kernel_size is not odd, below 3 or given twice, there is none, or ``p`` is outside
            [0, 1].
    """

    paper: ClassVar[str] = "arXiv:2111.00899"
    stream_name: ClassVar[str] = "BlurLevels"
    geometric: ClassVar[bool | None] = False

    kernel_sizes: tuple[int, ...] = (5, 9, 15)
    p: float = 1.0

    def __post_init__(self) -> None:
        _check_levels("BlurLevels.kernel_sizes", self.kernel_sizes)
        check_between("BlurLevels.p", self.p)
        for kernel_size in self.kernel_sizes:
            GaussianBlur(kernel_size)
            check_at_least("BlurLevels.kernel_sizes", kernel_size, 3)  # 1 is level 0

    @property
    def space(self) -> Space:
        return Space((Cyclic("blur_level", order=len(self.kernel_sizes) + 1),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        return _sample_level(self.space, stream, self.p)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        level = params.values["blur_level"].round()
        for k, kernel_size in enumerate(self.kernel_sizes, 1):
            sigma = (level == k) * (0.3 * ((kernel_size - 1) / 2 - 1) + 0.8)
            blur = GaussianBlur(kernel_size)
            images = blur.apply(images, Params.of(blur.space, {"blur_sigma": sigma}))
        return images

    def moments(self) -> Moments:
        return _level_moments(self.space, self.p)


@dataclass(frozen=True)
class SolarizeLevels(Augmentation):
    """No solarization or one of a few thresholds (E-SSL's authors: 256, 170, 85 and 0 of 255).

    Level 0 leaves the image, level k inverts what is at least as bright as the k-th threshold.

    Args:
        thresholds: in [0, 1], each another; 0 inverts everything.
        p: probability of drawing a level, uniformly (level 0 too); otherwise the image is left.

    Raises:
        ValueError: a threshold or ``p`` is outside [0, 1], a threshold is given twice, or there is none.
    """

    stream_name: ClassVar[str] = "SolarizeLevels"
    geometric: ClassVar[bool | None] = False

    thresholds: tuple[float, ...] = (170 / 255, 85 / 255, 0.0)
    p: float = 1.0

    def __post_init__(self) -> None:
        _check_levels("SolarizeLevels.thresholds", self.thresholds)
        check_between("SolarizeLevels.p", self.p)
        for threshold in self.thresholds:
            Solarize(threshold)

    @property
    def space(self) -> Space:
        return Space((Cyclic("solarize_level", order=len(self.thresholds) + 1),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        return _sample_level(self.space, stream, self.p)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        level = params.values["solarize_level"].round()
        for k, threshold in enumerate(self.thresholds, 1):
            solarize = Solarize(threshold)
            images = solarize.apply(images, Params.of(solarize.space, {"solarize": (level == k).float()}))
        return images

    def moments(self) -> Moments:
        return _level_moments(self.space, self.p)


def _check_levels(field: str, levels: tuple[float, ...]) -> None:
    if not levels:
        raise ValueError(f"{field} must hold at least one level")
    if len(set(levels)) < len(levels):  # a network cannot tell one from the other
        raise ValueError(f"{field} must differ from each other, got {levels}")


def _sample_level(space: Space, stream: Stream, probability: float) -> Params:
    (factor,) = space.factors
    level = stream.integers("level", factor.encoded_size).float()[:, None]
    return Params.of(space, {factor.name: level}, stream.chance("applied", probability))


def _level_moments(space: Space, probability: float) -> Moments:
    (factor,) = space.factors
    level = torch.arange(factor.encoded_size, dtype=torch.float64)
    first, second = (probability * (level**power).mean() for power in (1, 2))
    return {factor.name: (first[None], second[None]), **applied_moments(factor.name, probability)}
