"""Many small images as one, so that a page holds hundreds of them in few bytes."""

from __future__ import annotations

import base64
import io
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.augment.batched import as_float

LARGEST = 64  # pixels of a cell; larger images are shrunk
_BLOCK = 8  # of JPEG: cells of whole blocks do not run into one another
_QUALITY = 82


def sprite(images: Tensor) -> dict[str, object]:
    """Images (N, C, H, W), uint8 or float in [0, 1], side by side in rows, as plain data for JSON.

    Returns ``{"image": data URI, "columns", "rows", "count", "size"}``: image k stands in column
    k % columns and row k // columns, ``size`` pixels wide and high. Three channels are colour, otherwise the
    first is shown as grey. Images that are not square are centred on black.
    """
    from PIL import Image

    small = _square(as_float(images).float().cpu().clamp(0, 1))
    count, _, size, _ = small.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    cells = torch.zeros(columns * rows, *small.shape[1:])
    cells[:count] = small
    whole = cells.view(rows, columns, -1, size, size).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    pixels = (whole * 255).round().to(torch.uint8).numpy()
    drawn = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
    buffer = io.BytesIO()
    drawn.save(buffer, "JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    image = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"image": image, "columns": columns, "rows": rows, "count": count, "size": size}


def _square(images: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, s, s), s a whole number of blocks."""
    height, width = images.shape[-2:]
    longest = max(height, width)
    side = min(LARGEST, math.ceil(longest / _BLOCK) * _BLOCK)
    if longest > side:
        tall, wide = (max(1, round(n * side / longest)) for n in (height, width))
        images = F.interpolate(images, (tall, wide), mode="bilinear", antialias=True)
        height, width = tall, wide
    across, down = side - width, side - height
    return F.pad(images, (across // 2, across - across // 2, down // 2, down - down // 2))
