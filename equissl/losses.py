"""Losses on embeddings, as pure functions; rows are pictures, and other ranks' rows are gathered."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.distributed import gather, rank

Negatives = Literal["all", "other_view"]
Directions = Literal["both", "one"]  # whether each view predicts the other, or only the first the second


def nt_xent(a: Tensor, b: Tensor, temperature: float, negatives: Negatives = "all") -> Tensor:
    """Normalised-temperature cross entropy of SimCLR (arXiv:2002.05709, eq. 1), averaged over both sides.

    Args:
        a, b: (n, d), row i of one is the positive of row i of the other; need not be normalised.
        negatives: "all": every row of both but the anchor is in the denominator (2n - 2 negatives, SimCLR,
            EquiMod, SIE); "other_view": only the other side's rows are (n - 1 negatives, E-SSL, MoCo v3).
    """
    with full_precision(a):
        return _nt_xent(as_single(a), as_single(b), temperature, negatives)


def _nt_xent(a: Tensor, b: Tensor, temperature: float, negatives: Negatives) -> Tensor:
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    all_a, all_b = gather(a), gather(b)
    positive = rank() * len(a) + torch.arange(len(a), device=a.device)
    total = a.new_zeros(())
    for own, other, all_own in ((a, all_b, all_a), (b, all_a, all_b)):
        logits = own @ other.T / temperature
        if negatives == "all":
            same = own @ all_own.T / temperature
            same = same.masked_fill(_at(positive, same), -torch.inf)
            logits = torch.cat([logits, same], 1)
        total = total + F.cross_entropy(logits, positive)
    return total / 2


def info_nce(query: Tensor, key: Tensor, temperature: float, queue: Tensor | None = None) -> Tensor:
    """Find each query's key among others, averaged over queries; need not be normalised.

    Args:
        query, key: (n, d), row i of one belongs to row i of the other.
        queue: (K, d), the negatives (MoCo, arXiv:1911.05722, eq. 1); without it the other rows' keys are
            (n - 1 negatives over all processes, MoCo v3, arXiv:2104.02057, eq. 1).
    """
    with full_precision(query):
        query, key = F.normalize(as_single(query), dim=1), F.normalize(as_single(key), dim=1)
        if queue is None:
            logits = query @ gather(key).T
            correct = rank() * len(query) + torch.arange(len(query), device=query.device)
        else:
            negatives = F.normalize(as_single(queue), dim=1)
            logits = torch.cat([(query * key).sum(1, keepdim=True), query @ negatives.T], 1)
            correct = torch.zeros(len(query), dtype=torch.long, device=query.device)
        return F.cross_entropy(logits / temperature, correct)


def sibling_free(target: Tensor, predicted: Tensor, temperature: float, *, positive_counts: bool) -> Tensor:
    """EquiMod's contrast as the paper states it: the other view of a picture is not a negative.

    For view i of a picture with views i and j:
    -log(exp(cos(y_i, yhat_i)/t) / sum over k not in {i, j} of exp(cos(y_i, y_k)/t)), averaged over views
    (specs: arXiv:2211.01244, eq. 4 as restated by later implementations; not checked against the PDF).

    Args:
        target, predicted: (2n, d), the n first views then the n second views.
        positive_counts: whether the positive pair is in the denominator too.
    """
    with full_precision(target):
        return _sibling_free(as_single(target), as_single(predicted), temperature, positive_counts)


def _sibling_free(target: Tensor, predicted: Tensor, temperature: float, positive_counts: bool) -> Tensor:
    target, predicted = F.normalize(target, dim=1), F.normalize(predicted, dim=1)
    n = len(target) // 2
    everyone = gather(target.view(2, n, -1).transpose(0, 1).contiguous())  # (N, 2, d): picture by picture
    logits = target @ everyone.flatten(0, 1).T / temperature
    picture = rank() * n + torch.arange(n, device=target.device).repeat(2)
    own = torch.zeros(len(target), len(everyone), dtype=torch.bool, device=target.device)
    own = own.scatter(1, picture[:, None], True).repeat_interleave(2, dim=1)
    logits = logits.masked_fill(own, -torch.inf)
    positive = (target * predicted).sum(1) / temperature
    if positive_counts:
        logits = torch.cat([logits, positive[:, None]], 1)
    return (logits.logsumexp(1) - positive).mean()


def negative_cosine(predicted: Tensor, target: Tensor) -> Tensor:
    """Minus the mean cosine similarity of rows: (n, d), (n, d) -> (); gradient reaches both."""
    with full_precision(predicted):
        return -F.cosine_similarity(as_single(predicted), as_single(target), dim=1).mean()


def variance_hinge(x: Tensor) -> Tensor:
    """How far columns' deviations stay below 1: (n, d) -> (), in [0, 1]; VICReg (arXiv:2105.04906, eq. 1-2).

    The mean over columns of relu(1 - sqrt(unbiased variance + 1e-4)), over the rows of all processes.
    """
    with full_precision(x):
        deviation = (gather(as_single(x)).var(0) + 1e-4).sqrt()
        return F.relu(1 - deviation).mean()


def covariance_penalty(x: Tensor) -> Tensor:
    """Squared covariances of different columns, added and divided by d: (n, d) -> (); VICReg, eq. 3-4.

    Over the rows of all processes, divided by their true number minus 1.
    """
    with full_precision(x):
        rows = gather(as_single(x))
        rows = rows - rows.mean(0)
        covariance = rows.T @ rows / (len(rows) - 1)
        return (covariance.square().sum() - covariance.diagonal().square().sum()) / x.shape[1]


def koleo(x: Tensor) -> Tensor:
    """Minus the mean logarithm of the distance to the nearest other row: (n, d) -> ().

    Rows are brought to length 1 first and compared with those of all processes; it spreads them evenly
    (Kozachenko-Leonenko; arXiv:1806.03198, section 3, as in DINOv2, arXiv:2304.07193). Needs two rows.
    """
    with full_precision(x):
        own = F.normalize(as_single(x), dim=1)
        everyone = gather(own)
        place = rank() * len(own) + torch.arange(len(own), device=own.device)
        similar = (own @ everyone.T).detach()
        similar = similar.masked_fill(_at(place, similar), -torch.inf)
        nearest = everyone[similar.argmax(1)]
        return -(F.pairwise_distance(own, nearest, eps=1e-8) + 1e-8).log().mean()


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


def as_single(x: Tensor) -> Tensor:
    """Half-precision numbers as float32; others as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _at(columns: Tensor, like: Tensor) -> Tensor:
    return torch.zeros_like(like, dtype=torch.bool).scatter(1, columns[:, None], True)
