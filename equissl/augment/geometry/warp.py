"""Bilinear warps of images: affine maps, and any grid of source positions.

Padding modes are those of ``torch.nn.functional.grid_sample``. "zeros": black outside, and a border pixel
blends with it once (torchvision's functions with ``fill=None``; with ``fill=0``, the default of its random
transforms, the border is darkened twice). "reflection": mirrored about the outer edge of the border pixels;
torchvision has no counterpart.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

PaddingMode = Literal["zeros", "reflection"]
PADDING_MODES: tuple[PaddingMode, ...] = get_args(PaddingMode)


def centered_grid(images: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel positions relative to the center: x to the right (1, 1, W) and y down (1, H, 1)."""
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device, dtype=images.dtype) - (width - 1) / 2
    y = torch.arange(height, device=images.device, dtype=images.dtype) - (height - 1) / 2
    return x.view(1, 1, -1), y.view(1, -1, 1)


def grid_sample(images: Tensor, x: Tensor, y: Tensor, padding_mode: PaddingMode) -> Tensor:
    """Images sampled at positions (x, y) in pixels from their center, each broadcast to (B, H, W)."""
    height, width = images.shape[2:]
    shape = (len(images), height, width)
    grid = torch.stack([(x * (2 / width)).expand(shape), (y * (2 / height)).expand(shape)], -1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=padding_mode, align_corners=False)


def affine_warp(
    images: Tensor,
    padding_mode: PaddingMode,
    *,
    angle: Tensor | None = None,
    right: Tensor | None = None,
    down: Tensor | None = None,
    zoom: Tensor | None = None,
    shear_x: Tensor | None = None,
    shear_y: Tensor | None = None,
) -> Tensor:
    """Images sheared along x, then along y, zoomed and rotated about their center, then shifted.

    Args:
        angle: radians, counter-clockwise. All numbers are (B, 1), zero if absent.
        right, down: the shift in pixels.
        zoom: binary logarithm of the magnification.
        shear_x, shear_y: a point k below (right of) the center moves left (up) by k times this.
    """
    none = images.new_zeros(len(images), 1)
    angle, right, down = (none if n is None else n for n in (angle, right, down))
    zoom, shear_x, shear_y = (none if n is None else n for n in (zoom, shear_x, shear_y))
    cosine, sine = angle.cos(), angle.sin()
    # The map is zoom ((a, b), (c, d)), of determinant 1; each pixel of the result samples its preimage.
    a, c = cosine - shear_y * sine, -sine - shear_y * cosine
    b, d = sine - a * shear_x, cosine - c * shear_x
    shrink = (-math.log(2) * zoom).exp()
    a, b, c, d = (n * shrink for n in (a, b, c, d))
    numbers = (d, -b, b * down - d * right, -c, a, c * right - a * down)
    xx, xy, x0, yx, yy, y0 = (n[..., None] for n in numbers)
    x, y = centered_grid(images)
    return grid_sample(images, (xx * x + xy * y) + x0, (yx * x + yy * y) + y0, padding_mode)
