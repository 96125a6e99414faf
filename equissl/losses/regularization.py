"""Regularizers: variance and covariance (VICReg), KoLeo (DINOv2); rows of all ranks are gathered."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.distributed import gather, rank
from equissl.losses.precision import full_precision, one_hot_mask, to_float32


def variance_loss(x: Tensor) -> Tensor:
    """Variance loss of VICReg (arXiv:2105.04906, eq. 1-2): (n, d) -> (), in [0, 1].

    Hinge on the standard deviations: mean over columns of relu(1 - sqrt(unbiased variance + 1e-4)), over the
    rows of all processes.

    >>> round(float(variance_loss(torch.zeros(4, 2))), 2)  # a collapsed embedding
    0.99
    """
    with full_precision(x):
        deviation = (gather(to_float32(x)).var(0) + 1e-4).sqrt()
        return F.relu(1 - deviation).mean()


def covariance_loss(x: Tensor) -> Tensor:
    """Covariance loss of VICReg (eq. 3-4): sum of squared off-diagonal covariances / d, (n, d) -> ().

    Over the n rows of all processes, with the divisor n - 1.

    >>> x = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])  # two equal columns: covariance 2
    >>> float(covariance_loss(x))
    4.0
    """
    with full_precision(x):
        rows = gather(to_float32(x))
        rows = rows - rows.mean(0)
        covariance = rows.T @ rows / (len(rows) - 1)
        return (covariance.square().sum() - covariance.diagonal().square().sum()) / x.shape[1]


def koleo(x: Tensor) -> Tensor:
    """KoLeo, the Kozachenko-Leonenko entropy estimator: minus the mean log distance to the nearest row.

    (n, d) -> (), n >= 2. Rows are L2-normalised and compared with those of all processes
    (arXiv:1806.03198, section 3, as in DINOv2, arXiv:2304.07193).

    >>> round(float(koleo(torch.eye(2))), 3)  # -log(sqrt(2))
    -0.347
    """
    with full_precision(x):
        embeddings = F.normalize(to_float32(x), dim=1)
        all_embeddings = gather(embeddings)
        index = rank() * len(embeddings) + torch.arange(len(embeddings), device=x.device)
        similarity = (embeddings @ all_embeddings.T).detach()
        similarity = similarity.masked_fill(one_hot_mask(index, similarity), -torch.inf)
        nearest = all_embeddings[similarity.argmax(1)]
        return -(F.pairwise_distance(embeddings, nearest, eps=1e-8) + 1e-8).log().mean()
