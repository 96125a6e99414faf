"""Images looked up between their pixels, shared by everything that moves them. Bilinear.

Two fills: "zeros" is black outside, and a pixel at the border blends with it once (torchvision's functions
with ``fill=None``; with ``fill=0``, as its random transforms have it, the border is darkened twice).
"reflect" mirrors the image about the outer edge of its border pixels and has no counterpart there.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Fill = Literal["zeros", "reflect"]
_PADDING = {"zeros": "zeros", "reflect": "reflection"}
FILLS = tuple(_PADDING)


def centred(images: Tensor) -> tuple[Tensor, Tensor]:
    """Where pixels are, counted from the centre: (1, 1, W) to the right and (1, H, 1) down."""
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device, dtype=images.dtype) - (width - 1) / 2
    y = torch.arange(height, device=images.device, dtype=images.dtype) - (height - 1) / 2
    return x.view(1, 1, -1), y.view(1, -1, 1)


def look_up(images: Tensor, x: Tensor, y: Tensor, fill: Fill) -> Tensor:
    """The images at positions counted in pixels from their centre, broadcast to (B, H, W) each."""
    height, width = images.shape[2:]
    shape = (len(images), height, width)
    grid = torch.stack([(x * (2 / width)).expand(shape), (y * (2 / height)).expand(shape)], -1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=_PADDING[fill], align_corners=False)


def moved(
    images: Tensor,
    fill: Fill,
    *,
    angle: Tensor | None = None,
    right: Tensor | None = None,
    down: Tensor | None = None,
    zoom: Tensor | None = None,
    shear_x: Tensor | None = None,
    shear_y: Tensor | None = None,
) -> Tensor:
    """The images sheared along x, then along y, zoomed and turned about their centre, then shifted.

    Args:
        angle: radians, counter-clockwise. All numbers are (B, 1), zero if absent.
        right, down: the shift in pixels.
        zoom: binary logarithm of the magnification.
        shear_x, shear_y: a point k below (right of) the centre moves left (up) by k times this.
    """
    none = images.new_zeros(len(images), 1)
    angle, right, down = (none if n is None else n for n in (angle, right, down))
    zoom, shear_x, shear_y = (none if n is None else n for n in (zoom, shear_x, shear_y))
    cosine, sine = angle.cos(), angle.sin()
    # The map is zoom ((a, b), (c, d)), of determinant 1; each pixel of the result looks back through it.
    a, c = cosine - shear_y * sine, -sine - shear_y * cosine
    b, d = sine - a * shear_x, cosine - c * shear_x
    shrink = (-math.log(2) * zoom).exp()
    a, b, c, d = (n * shrink for n in (a, b, c, d))
    numbers = (d, -b, b * down - d * right, -c, a, c * right - a * down)
    xx, xy, x0, yx, yy, y0 = (n[..., None] for n in numbers)
    x, y = centred(images)
    return look_up(images, (xx * x + xy * y) + x0, (yx * x + yy * y) + y0, fill)
