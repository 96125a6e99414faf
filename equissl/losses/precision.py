"""Numerical helpers of the losses: float32 outside autocast, checked temperatures, masks."""

from __future__ import annotations

import torch
from torch import Tensor


def check_temperature(field: str, value: float) -> None:
    """
    Raises:
        ValueError: ``value`` is not above 0.
    """
    if not value > 0:
        raise ValueError(f"{field} must be above 0, got {value}")


def full_precision(like: Tensor) -> torch.autocast:
    """No automatic casting: similarities divided by a temperature need more than half precision."""
    return torch.autocast(like.device.type, enabled=False)


def to_float32(x: Tensor) -> Tensor:
    """Half-precision numbers as float32; others as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def one_hot_mask(columns: Tensor, like: Tensor) -> Tensor:
    return torch.zeros_like(like, dtype=torch.bool).scatter(1, columns[:, None], True)
