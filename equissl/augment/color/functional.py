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
    # Ones and zeros as numbers: torch.where takes thirty times as long as a product on a CPU.
    is_red = 1 - (high - red).sign_()
    is_green = (1 - (high - green).sign_()).mul_(1 - is_red)
    is_blue = 1 - is_red - is_green
    side = is_red * (green - blue)
    side.add_(is_green * (blue - red)).add_(is_blue * (red - green))
    side.div_(chroma + (1 - chroma.sign()))
    hue = side.add_(2 * is_green).add_(4 * is_blue).add_(6 * turns[..., None])
    hue.sub_((hue * (1 / 6)).floor_().mul_(6))
    return torch.stack([_channel(hue, position, low, high, chroma) for position in (3, 2, 4)], 1)


def _channel(hue: Tensor, position: int, low: Tensor, high: Tensor, chroma: Tensor) -> Tensor:
    # Red is smallest around cyan, at 3; green and blue are largest around their own positions, 2 and 4.
    distance = (hue - position).abs_()
    u = (distance.sub_(1) if position == 3 else distance.neg_().add_(2)).clamp_(0, 1)
    is_largest = u.floor()
    return u.mul_(chroma).add_(low).clamp_(0, 1).lerp_(high, is_largest)


def _channels(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if images.shape[1] != 3:
        raise ValueError(f"color operations need images with 3 channels, got {images.shape[1]}")
    return images[:, 0], images[:, 1], images[:, 2]
