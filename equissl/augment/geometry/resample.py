"""Interpolation weights of antialiased box resampling, equal to torchvision's resized_crop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from equissl.augment.batched import pairwise_sum, used_taps

Interpolation = Literal["bilinear", "bicubic"]
_SNAP_DISTANCE = 1e-3  # pixels


def resample_weights(
    start: Tensor, length: Tensor, pixels: int, size: int, interpolation: Interpolation
) -> tuple[Tensor, Tensor]:
    """Indices of the source pixels of each result along one side, and their weights: (B, size, K) each.

    A pixel that the box covers in part counts by that part, so the result is continuous in the box.

    Args:
        start, length: of the box as fractions of the side, (B, 1).
        pixels: of the source along this side.
        size: number of results.
    """
    kernel, radius = _FILTERS[interpolation]
    start, length = _snap(start * pixels)[..., None], _snap(length * pixels)[..., None]
    scale = length / size
    stretch = scale.clamp(min=1)  # shrinking widens the filter: antialiasing
    position = torch.arange(size, device=start.device, dtype=start.dtype)[:, None] + 0.5
    center = scale * position  # counted from the box, as torchvision does, for equal rounding
    count = math.ceil(2 * radius * max(1.0, pixels / size))
    first = (start + center - radius * stretch + 0.5).floor()
    pixel = first + torch.arange(count, device=start.device, dtype=start.dtype)
    coverage = torch.minimum(pixel + 1, start + length) - torch.maximum(pixel, start)
    weight = kernel((pixel - start - center + 0.5) / stretch) * coverage.clamp(0, 1)
    weight = weight / pairwise_sum(weight)[..., None]
    used = used_taps(weight)
    return pixel[..., used].clamp(0, pixels - 1).long(), weight[..., used]


def _snap(value: Tensor) -> Tensor:
    # Fractions of a few hundred pixels in float32 come back a little off the whole pixel they stand for.
    whole = value.round()
    return torch.where((value - whole).abs() < _SNAP_DISTANCE, whole, value)


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp(min=0)


def _cubic(distance: Tensor) -> Tensor:
    # Keys, IEEE TASSP 29 (1981), with a = -0.5, which torchvision uses when antialiasing.
    d = distance.abs()
    near = (1.5 * d - 2.5) * d * d + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return torch.where(d < 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


# Name -> the filter and its radius in pixels.
_FILTERS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "bilinear": (_triangle, 1),
    "bicubic": (_cubic, 2),
}

INTERPOLATIONS = tuple(_FILTERS)
