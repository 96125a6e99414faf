"""The batched arithmetic all augmentations are made of, chosen so that neighbors never matter.

An image must come out bit for bit the same in any batch. Matrix products and library reductions choose
their code by batch size, and some split a long sum over threads; sums of rows and halving sums do not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def apply_where(images: Tensor, chosen: Tensor, operation: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """Replace the ``chosen`` images by ``operation(images, *their values)``; the others stay as they are.

    Args:
        images: (B, C, H, W), the caller's own copy: it may be written to.
        chosen: (B,) bool.
        operation: keeps the shape, and treats every image by itself.
        values: per image, (B, ...).
    """
    # Reading which images are chosen costs nothing on a CPU, but cannot be compiled.
    if images.device.type == "cpu" and not torch.compiler.is_compiling():
        rows = chosen.nonzero()[:, 0]
        if len(rows):
            picked = (v.index_select(0, rows) for v in (images, *values))
            images.index_copy_(0, rows, operation(*picked))
        return images
    return torch.where(chosen[:, None, None, None], operation(images, *values), images)


def as_float(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1]; float ones as they are, but at least in single precision."""
    if images.dtype == torch.uint8:
        return images.float().div_(255)
    return images.float() if images.dtype in (torch.float16, torch.bfloat16) else images


def weighted_rows(images: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Each row of the result is a weighted sum of a few rows: a sparse matrix per image.

    Args:
        images: (B, C, H, W).
        index: (B, h, K) int64, which rows.
        weight: (B, h, K), of the images' dtype.

    Returns:
        (B, C, h, W).
    """
    b, c, height, width = images.shape
    start = torch.arange(b * c, device=images.device).view(b, c, 1, 1) * height
    taps = index.shape[2]
    which = (index[:, None] + start).reshape(-1, taps)
    amount = weight[:, None].expand(b, c, -1, -1).reshape(-1, taps)
    # Contiguous also where a side is 1, so that embedding_bag takes the same path for every batch.
    table = images.contiguous(memory_format=torch.contiguous_format).view(b * c * height, width)
    summed = F.embedding_bag(which, table, mode="sum", per_sample_weights=amount)
    return summed.view(b, c, index.shape[1], width)


def separable_filter(images: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]) -> Tensor:
    """``weighted_rows`` along the height, then along the width: (B, C, H, W) -> (B, C, h, w)."""
    tall = weighted_rows(images, *rows)
    return weighted_rows(tall.mT, *columns).mT.contiguous()


def pairwise_sum(values: Tensor) -> Tensor:
    """The sum over the last dimension by repeated halving: (..., n) -> (...)."""
    while values.shape[-1] > 1:
        half = values.shape[-1] // 2
        rest = values[..., 2 * half :]
        values = values[..., :half] + values[..., half : 2 * half]
        values = torch.cat([values, rest], -1) if rest.shape[-1] else values
    return values[..., 0]


def per_image(values: Tensor) -> Tensor:
    """One number per image, (B, 1), in the shape that multiplies images: (B, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)
