"""Numerical helpers of the losses: float32 outside autocast, one-hot masks."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(like: Tensor) -> torch.autocast:
    """Disable autocast: logits divided by a temperature need more than half precision."""
    return torch.autocast(like.device.type, enabled=False)


def to_float32(x: Tensor) -> Tensor:
    """Half-precision tensors as float32; others unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def one_hot_mask(columns: Tensor, like: Tensor) -> Tensor:
    """True at (i, columns[i]), in the shape of ``like`` (n, m)."""
    return torch.zeros_like(like, dtype=torch.bool).scatter(1, columns[:, None], True)
