"""Colour arithmetic on images in [0, 1], and the augmentations that need a single step of it.

All of it equals torchvision's on float tensors; additions are never fused with products, because a fused
step rounds differently at the end of a vector, which depends on the batch (a lerp by 0 or 1 is exact).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation, Moments, NativeStep
from equissl.augment.batched import column, overwrite, total
from equissl.augment.geometry.flip import is_on, sample_switch
from equissl.augment.validation import check_number, switch
from equissl.params import Binary, Params, Space
from equissl.random import Stream


@dataclass(frozen=True)
class Grayscale(Augmentation):
    """Replace all channels by the luma 0.2989 R + 0.587 G + 0.114 B (torchvision's RandomGrayscale).

    Raises:
        ValueError: ``probability`` is outside [0, 1].
    """

    stream_name: ClassVar[str] = "Grayscale"

    probability: float = 0.2

    def __post_init__(self) -> None:
        check_number("Grayscale.probability", self.probability)

    @property
    def space(self) -> Space:
        return Space((Binary("grayscale"),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        return sample_switch(self.space, stream, self.probability)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return overwrite(images.clone(), is_on(params, "grayscale"), lambda p: luma(p).expand_as(p))

    def native(self, params: Params) -> NativeStep:
        return NativeStep("grayscale", params.values["grayscale"])

    def moments(self) -> Moments:
        return switch("grayscale", self.probability)


@dataclass(frozen=True)
class Solarize(Augmentation):
    """Invert what is at least as bright as a threshold (BYOL, arXiv:2006.07733, appendix B).

    Raises:
        ValueError: ``threshold`` or ``probability`` is outside [0, 1].
    """

    paper: ClassVar[str] = "arXiv:2006.07733"
    stream_name: ClassVar[str] = "Solarize"

    threshold: float = 128 / 255
    probability: float = 0.2

    def __post_init__(self) -> None:
        check_number("Solarize.threshold", self.threshold)
        check_number("Solarize.probability", self.probability)

    @property
    def space(self) -> Space:
        return Space((Binary("solarize"),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        return sample_switch(self.space, stream, self.probability)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return overwrite(images.clone(), is_on(params, "solarize"), self._solarized)

    def native(self, params: Params) -> NativeStep:
        return NativeStep("solarize", params.values["solarize"], real=(self.threshold,))

    def moments(self) -> Moments:
        return switch("solarize", self.probability)

    def _solarized(self, images: Tensor) -> Tensor:
        # torch rounds the threshold to the images' precision, so a grey level that equals it is inverted.
        return images.lerp(1 - images, (images >= self.threshold).to(images.dtype))


@dataclass(frozen=True)
class Invert(Augmentation):
    """Replace x by 1 - x (torchvision's RandomInvert).

    Raises:
        ValueError: ``probability`` is outside [0, 1].
    """

    stream_name: ClassVar[str] = "Invert"

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_number("Invert.probability", self.probability)

    @property
    def space(self) -> Space:
        return Space((Binary("invert"),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        return sample_switch(self.space, stream, self.probability)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return overwrite(images.clone(), is_on(params, "invert"), lambda x: 1 - x)

    def native(self, params: Params) -> NativeStep:
        return NativeStep("invert", params.values["invert"])

    def moments(self) -> Moments:
        return switch("invert", self.probability)


def luma(images: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W); the weights, as in torchvision, do not add up to 1."""
    red, green, blue = _channels(images)
    return (0.2989 * red).add_(0.587 * green).add_(0.114 * blue)[:, None]


def brighten(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply; ``factor`` is (B, 1)."""
    return (images * column(factor)).clamp_(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """CrossAttentionReconstruction with the mean luma of the image; ``factor`` is (B, 1)."""
    grey = luma(images).flatten(1)
    level = total(grey)[:, None] / grey.shape[1]
    return (images * column(factor)).add_(column((1 - factor) * level)).clamp_(0, 1)


def saturate(images: Tensor, factor: Tensor) -> Tensor:
    """CrossAttentionReconstruction with the luma of each pixel; ``factor`` is (B, 1)."""
    grey = luma(images).mul_(column(1 - factor))
    return (images * column(factor)).add_(grey).clamp_(0, 1)


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Shift the hue by (B, 1) turns of the circle; grey pixels stay as they are.

    A channel goes from the smallest to the largest value with u, a piecewise linear function of the hue in
    sixths of a turn. As in torchvision, the largest value is kept and the others are clipped to [0, 1].
    """
    red, green, blue = _channels(images)
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = high - low
    # Ones and zeros as numbers: torch.where takes thirty times as long as a product on a CPU.
    is_red = 1 - (high - red).sign_()
    is_green = (1 - (high - green).sign_()).mul_(1 - is_red)
    is_blue = 1 - is_red - is_green
    side = is_red * (green - blue)
    side.add_(is_green * (blue - red)).add_(is_blue * (red - green))
    side.div_(chroma + (1 - chroma.sign()))
    hue = side.add_(2 * is_green).add_(4 * is_blue).add_(6 * turns[..., None])
    hue.sub_((hue * (1 / 6)).floor_().mul_(6))
    return torch.stack([_channel(hue, place, low, high, chroma) for place in (3, 2, 4)], 1)


def _channel(hue: Tensor, place: int, low: Tensor, high: Tensor, chroma: Tensor) -> Tensor:
    # Red is smallest around cyan, at 3; green and blue are largest around their own places, 2 and 4.
    distance = (hue - place).abs_()
    u = (distance.sub_(1) if place == 3 else distance.neg_().add_(2)).clamp_(0, 1)
    largest = u.floor()
    return u.mul_(chroma).add_(low).clamp_(0, 1).lerp_(high, largest)


def _channels(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if images.shape[1] != 3:
        raise ValueError(f"colour needs images with 3 channels, got {images.shape[1]}")
    return images[:, 0], images[:, 1], images[:, 2]
