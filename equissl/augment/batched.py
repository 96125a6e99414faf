"""The batched arithmetic all augmentations are made of, chosen so that neighbors never matter.

An image must come out bit for bit the same in any batch. Matrix products and library reductions choose
their code by batch size, and some split a long sum over threads; sums of rows and halving sums do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_LARGE_IMAGE = 1 << 15  # values; smaller ones are computed together, as each call of torch costs time


Turn = tuple[Tensor, Callable[..., Tensor], *tuple[Tensor, ...]]


def apply_where(images: Tensor, chosen: Tensor, operation: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """Replace the ``chosen`` images by ``operation(images, *their values)``; the others stay as they are.

    Args:
        images: (B, C, H, W), not written to; the result is ``images`` itself where none is chosen.
        chosen: (B,) bool.
        operation: keeps the shape, writes to nothing, and treats every image by itself.
        values: per image, (B, ...).
    """
    return apply_in_turn(images, [(chosen, operation, *values)])


def apply_in_turn(images: Tensor, turns: Sequence[Turn]) -> Tensor:
    """``apply_where`` several times, one after the other, each with its ``(chosen, operation, *values)``."""
    if can_read_values(images) and images[:1].numel() >= _LARGE_IMAGE:
        return _one_by_one(images, turns)
    own = False  # whether the images are a copy, so that they may be written to
    for chosen, operation, *values in turns:
        if not can_read_values(images):
            images = torch.where(chosen[:, None, None, None], operation(images, *values), images)
            continue
        rows = chosen.nonzero()[:, 0]
        if len(rows):
            picked = (v.index_select(0, rows) for v in (images, *values))
            images, own = images if own else images.clone(), True
            images.index_copy_(0, rows, operation(*picked))
    return images


def _one_by_one(images: Tensor, turns: Sequence[Turn]) -> Tensor:
    """Image by image, so that what an operation makes on its way stays in the processor's cache."""
    done = []
    for k, wanted in enumerate(zip(*(chosen.tolist() for chosen, *_ in turns), strict=True)):
        image = images[k : k + 1]
        for (_, operation, *values), apply in zip(turns, wanted, strict=True):
            image = operation(image, *(v[k : k + 1] for v in values)) if apply else image
        done.append(image)
    return torch.cat(done)


def can_read_values(images: Tensor) -> bool:
    """Whether values may decide what is done: that costs nothing on a CPU, but cannot be compiled."""
    return images.device.type == "cpu" and not torch.compiler.is_compiling()


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
    which, amount = _of_all_channels(index, weight, c, height)
    start = torch.arange(b, device=images.device).view(b, 1, 1) * (c * height)
    # Contiguous also where a side is 1, so that embedding_bag takes the same path for every batch.
    table = images.contiguous(memory_format=torch.contiguous_format).view(b * c * height, width)
    summed = _weighted_rows(table, (which + start).flatten(0, 1), amount.flatten(0, 1))
    return summed.view(b, c, index.shape[1], width)


def _of_all_channels(
    index: Tensor, weight: Tensor, channels: int, height: int | Tensor
) -> tuple[Tensor, Tensor]:
    """(B, h, K) of images of a ``height`` -> (B, C * h, K) of their channels, one below the other."""
    start = torch.arange(channels, device=index.device).view(1, channels, 1, 1) * height
    repeated = weight[:, None].expand(-1, channels, -1, -1)
    return (index[:, None] + start).flatten(1, 2), repeated.flatten(1, 2)


def _weighted_rows(table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Sums of the rows of ``table`` (N, W) that ``index`` (M, K) names: (M, W)."""
    return F.embedding_bag(index, table, mode="sum", per_sample_weights=weight)


def used_taps(weight: Tensor) -> Tensor | slice:
    """Which of the K taps of a filter (..., K) weigh anything in any image: the others need no time."""
    if not can_read_values(weight) or len(weight) == 0:
        return slice(None)
    return weight.flatten(0, -2).any(0)


def separable_filter(images: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]) -> Tensor:
    """``weighted_rows`` along the height, then along the width: (B, C, H, W) -> (B, C, h, w)."""
    if can_read_values(images) and images[:1].numel() >= _LARGE_IMAGE:
        return _filtered_one_by_one(images, rows, columns)
    tall = weighted_rows(images, *rows)
    return weighted_rows(tall.mT, *columns).mT.contiguous()


def _filtered_one_by_one(
    images: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]
) -> Tensor:
    """Image by image, as ``_one_by_one``, and of each only the part that is needed."""
    (y, y_weight), (x, x_weight) = rows, columns
    (top, bottom), (left, right) = (i.flatten(1).aminmax(dim=1) for i in (y, x))
    b, c, size = len(images), images.shape[1], (y.shape[1], x.shape[1])
    tall, wide = (per_image(last - first + 1) for first, last in ((top, bottom), (left, right)))
    y, y_weight = _of_all_channels(y - top[:, None, None], y_weight, c, tall)
    x, x_weight = _of_all_channels(x - left[:, None, None], x_weight, c, wide)
    parts = zip(*(side.tolist() for side in (top, bottom, left, right)), strict=True)
    result = images.new_empty(b, c, *size)
    for k, (first, last, start, end) in enumerate(parts):
        part = images[k, :, first : last + 1, start : end + 1]
        made = _weighted_rows(part.reshape(-1, part.shape[2]), y[k], y_weight[k])
        made = made.view(c, size[0], -1).mT.reshape(-1, size[0])
        result[k] = _weighted_rows(made, x[k], x_weight[k]).view(c, size[1], -1).mT
    return result


def pairwise_sum(values: Tensor) -> Tensor:
    """The sum over the last dimension by repeated halving: (..., n) -> (...)."""
    if not can_read_values(values) or values.requires_grad or values.dtype == torch.bfloat16:
        return _halved(values, torch.cat)  # type: ignore[no-any-return]
    # A call of NumPy takes a third of the time of one of torch.
    return torch.as_tensor(_halved(values.numpy(), np.concatenate))


def _halved(values: Any, join: Callable[..., Any]) -> Any:
    while values.shape[-1] > 1:
        half, odd = divmod(values.shape[-1], 2)
        summed = values[..., :half] + values[..., half : 2 * half]
        values = join([summed, values[..., 2 * half :]], -1) if odd else summed
    return values[..., 0]


def per_image(values: Tensor) -> Tensor:
    """One number per image, (B, 1), in the shape that multiplies images: (B, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)
