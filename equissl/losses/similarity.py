"""Negative cosine similarity (BYOL, SimSiam)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from equissl.losses.precision import full_precision, to_float32

Directions = Literal["both", "one"]  # whether each view predicts the other, or only the first the second


def negative_cosine(predicted: Tensor, target: Tensor) -> Tensor:
    """Minus the mean cosine similarity of rows: (n, d), (n, d) -> (); gradient reaches both."""
    with full_precision(predicted):
        return -F.cosine_similarity(to_float32(predicted), to_float32(target), dim=1).mean()
