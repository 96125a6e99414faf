"""Negative cosine similarity (BYOL, SimSiam)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from equissl.losses.precision import full_precision, to_float32


def negative_cosine(predictions: Tensor, targets: Tensor) -> Tensor:
    """Negative cosine similarity, mean over rows: (n, d), (n, d) -> (), in [-1, 1]; gradient reaches both.

    >>> import torch
    >>> float(negative_cosine(torch.eye(2), 2 * torch.eye(2)))
    -1.0
    """
    with full_precision(predictions):
        return -F.cosine_similarity(to_float32(predictions), to_float32(targets), dim=1).mean()
