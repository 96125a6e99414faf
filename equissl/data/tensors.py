"""Images that a user holds as a tensor or an array."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equissl.errors import UserError

_TOLERANCE = 1e-2  # beyond [0, 1], as interpolation leaves it


def as_images(images: Tensor | NDArray[Any]) -> Tensor:
    """Images (N, C, H, W) as uint8.

    Args:
        images: uint8, or floating-point numbers in [0, 1]; what lies less than 0.01 outside is clipped.

    Raises:
        UserError: they have another shape or type, channels last, other values, or are not finite.

    >>> as_images(torch.tensor([[[[0.0, 0.5, 1.0]]]]))
    tensor([[[[  0, 128, 255]]]], dtype=torch.uint8)
    """
    tensor = torch.from_numpy(np.ascontiguousarray(images)) if isinstance(images, np.ndarray) else images
    shape = tuple(tensor.shape)
    if tensor.dim() != 4:
        raise UserError(f"images: expected the shape (N, C, H, W), got {shape}")
    if shape[3] in (1, 3, 4) and shape[1] not in (1, 3, 4):
        raise UserError(
            f"images: expected the shape (N, C, H, W), got {shape}, which has its channels last; permute to "
            "(0, 3, 1, 2)"
        )
    if tensor.dtype == torch.uint8:
        return tensor
    if not tensor.is_floating_point():
        raise UserError(f"images: expected uint8 or floating-point numbers, got {tensor.dtype}")
    if not tensor.numel():
        return tensor.to(torch.uint8)
    check_values(tensor, "images")
    return (tensor.clamp(0, 1) * 255).round().to(torch.uint8)


def check_values(images: Tensor, label: str) -> None:
    """Raises UserError if floating-point images have values outside [0, 1], or NaN; ``label`` names them."""
    if not images.is_floating_point() or not images.numel():
        return
    low, high = float(images.min()), float(images.max())
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):  # also where one is NaN
        raise UserError(
            f"{label}: floating-point numbers must lie in [0, 1], got {low:g} to {high:g}; do not normalise "
            "them (the model does), and divide those of 0 to 255 by 255"
        )
