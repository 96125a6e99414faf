"""Regularizers: variance and covariance (VICReg), KoLeo (DINOv2); rows of all ranks are gathered."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.distributed import gather, rank
from equissl.losses.precision import full_precision, one_hot_mask, to_float32


def variance_loss(x: Tensor) -> Tensor:
    """How far columns' deviations stay below 1: (n, d) -> (), in [0, 1]; VICReg (arXiv:2105.04906, eq. 1-2).

    The mean over columns of relu(1 - sqrt(unbiased variance + 1e-4)), over the rows of all processes.
    """
    with full_precision(x):
        deviation = (gather(to_float32(x)).var(0) + 1e-4).sqrt()
        return F.relu(1 - deviation).mean()


def covariance_loss(x: Tensor) -> Tensor:
    """Squared covariances of different columns, added and divided by d: (n, d) -> (); VICReg, eq. 3-4.

    Over the rows of all processes, divided by their true number minus 1.
    """
    with full_precision(x):
        rows = gather(to_float32(x))
        rows = rows - rows.mean(0)
        covariance = rows.T @ rows / (len(rows) - 1)
        return (covariance.square().sum() - covariance.diagonal().square().sum()) / x.shape[1]


def koleo(x: Tensor) -> Tensor:
    """Minus the mean logarithm of the distance to the nearest other row: (n, d) -> ().

    Rows are brought to length 1 first and compared with those of all processes; it spreads them evenly
    (Kozachenko-Leonenko; arXiv:1806.03198, section 3, as in DINOv2, arXiv:2304.07193). Needs two rows.
    """
    with full_precision(x):
        own = F.normalize(to_float32(x), dim=1)
        everyone = gather(own)
        place = rank() * len(own) + torch.arange(len(own), device=own.device)
        similar = (own @ everyone.T).detach()
        similar = similar.masked_fill(one_hot_mask(place, similar), -torch.inf)
        nearest = everyone[similar.argmax(1)]
        return -(F.pairwise_distance(own, nearest, eps=1e-8) + 1e-8).log().mean()
