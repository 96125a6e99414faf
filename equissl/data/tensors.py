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
    """Checks that floating-point images (N, ...) lie in [0, 1] and are finite; ``label`` names them.

    Raises:
        UserError: they do not; says what they look like, and what to pass instead.
    """
    if not images.is_floating_point() or not images.numel():
        return
    low, high = (float(v) for v in images.aminmax())
    if low >= -_TOLERANCE and high <= 1 + _TOLERANCE:  # neither holds where one is NaN
        return
    bad = ~images.flatten(1).isfinite().all(1)
    if bool(bad.any()):
        raise UserError(
            f"{label}: {int(bad.sum())} of {len(images)} hold NaN or infinity, the first is number "
            f"{int(bad.nonzero()[0, 0])}; leave them out"
        )
    raise UserError(
        f"{label}: floating-point numbers must lie in [0, 1], got {low:g} to {high:g}; {_advice(low, high)}"
    )


def _advice(low: float, high: float) -> str:
    """What images with values from ``low`` to ``high`` look like."""
    if low >= 0:
        most = next((m for m in (255, 4095, 65535) if high <= m), 0)
        return f"divide by {most}" if most else "divide them by their white"
    if low >= -1.001 and high <= 1.001:
        return "they look scaled to [-1, 1]: pass (images + 1) / 2 and, if the model wants that, mean=std=0.5"
    return (
        "they look normalised: do not normalise them but say how the model does it, by its mean= and std= "
        "for images in [0, 1]"
    )
