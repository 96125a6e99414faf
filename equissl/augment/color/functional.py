"""Color arithmetic on images in [0, 1], equal to torchvision's functional operations on float tensors.

Additions are never fused with products, because a fused step rounds differently at the end of a vector, which
depends on the batch (a lerp by 0 or 1 is exact).
"""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.augment.batched import pairwise_sum, per_image


def luma(images: Tensor) -> Tensor:
    """Luma 0.2989 R + 0.587 G + 0.114 B: (B, 3, H, W) -> (B, 1, H, W).

    As in torchvision, the weights do not add up to 1.
    """
    red, green, blue = _channels(images)
    return (0.2989 * red).add_(0.587 * green).add_(0.114 * blue)[:, None]


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply by ``factor`` (B, 1) and clip to [0, 1]."""
    return (images * per_image(factor)).clamp_(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean luma of the image; ``factor`` (B, 1) is the weight of the image."""
    gray = luma(images).flatten(1)
    level = pairwise_sum(gray)[:, None] / gray.shape[1]
    return (images * per_image(factor)).add_(per_image((1 - factor) * level)).clamp_(0, 1)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the luma of each pixel; ``factor`` (B, 1) is the weight of the image."""
    gray = luma(images).mul_(per_image(1 - factor))
    return (images * per_image(factor)).add_(gray).clamp_(0, 1)


def adjust_saturation_hsv(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the saturation of HSV by ``factor`` (B, 1), at most to 1 (kornia's); hue and value stay.

    A channel's distance to the largest one grows by the factor, or until the smallest channel is 0.
    """
    _channels(images)
    high, low = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    chroma = high - low
    growth = torch.minimum(per_image(factor), high / (chroma + (1 - chroma.sign())))
    return (images - high).mul_(growth).add_(high).clamp_(0, 1)


def adjust_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Shift the hue by ``turns`` (B, 1) of the color circle; gray pixels stay as they are.

    A channel goes from the smallest to the largest value with u, a piecewise linear function of the hue in
    sixths of a turn. As in torchvision, the largest value is kept and the others are clipped to [0, 1].
    """
    red, green, blue = _channels(images)
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = high - low
    # Ones and zeros as numbers: torch.where takes ten times as long as a lerp on a CPU.
    not_red = (high - red).sign_()
    is_blue = (high - green).sign_().mul_(not_red)
    hue = (green - blue).lerp_(blue - red, not_red).lerp_(red - green, is_blue)
    hue.div_(chroma.clamp(min=torch.finfo(images.dtype).tiny))
    # Twice and six times a small whole number is exact, so nothing is lost if the addition is fused.
    hue.add_(not_red.add_(is_blue), alpha=2).add_(6 * turns[..., None])
    hue.sub_((hue * (1 / 6)).floor_(), alpha=6)
    # A channel's height between low and high. Red is lowest around cyan, at 3; green and blue are highest
    # around their own positions.
    u = torch.stack([hue - 3, hue - 2, hue - 4], 1).abs_()
    u[:, :1].sub_(1)
    u[:, 1:].neg_().add_(2)
    u.clamp_(0, 1)
    is_highest = u.floor()
    low, high, chroma = low[:, None], high[:, None], chroma[:, None]
    return u.mul_(chroma).add_(low).clamp_(0, 1).lerp_(high, is_highest)


def _channels(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if images.shape[1] != 3:
        raise ValueError(f"color operations need images with 3 channels, got {images.shape[1]}")
    return images[:, 0], images[:, 1], images[:, 2]
