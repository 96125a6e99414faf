"""Contrastive losses (SimCLR, MoCo, EquiMod); rows are samples, those of other ranks are gathered."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.distributed import gather, rank
from equissl.losses.precision import full_precision, one_hot_mask, to_float32

Negatives = Literal["all", "other_view"]


def nt_xent(a: Tensor, b: Tensor, temperature: float, negatives: Negatives = "all") -> Tensor:
    """Normalised-temperature cross entropy of SimCLR (arXiv:2002.05709, eq. 1), averaged over both sides.

    Args:
        a, b: (n, d), row i of one is the positive of row i of the other; need not be normalised.
        negatives: "all": every row of both but the anchor is in the denominator (2n - 2 negatives, SimCLR,
            EquiMod, SIE); "other_view": only the other side's rows are (n - 1 negatives, E-SSL, MoCo v3).
    """
    with full_precision(a):
        return _nt_xent(to_float32(a), to_float32(b), temperature, negatives)


def _nt_xent(a: Tensor, b: Tensor, temperature: float, negatives: Negatives) -> Tensor:
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    all_a, all_b = gather(a), gather(b)
    positive = rank() * len(a) + torch.arange(len(a), device=a.device)
    total = a.new_zeros(())
    for own, other, all_own in ((a, all_b, all_a), (b, all_a, all_b)):
        logits = own @ other.T / temperature
        if negatives == "all":
            same = own @ all_own.T / temperature
            same = same.masked_fill(one_hot_mask(positive, same), -torch.inf)
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
        query, key = F.normalize(to_float32(query), dim=1), F.normalize(to_float32(key), dim=1)
        if queue is None:
            logits = query @ gather(key).T
            correct = rank() * len(query) + torch.arange(len(query), device=query.device)
        else:
            negatives = F.normalize(to_float32(queue), dim=1)
            logits = torch.cat([(query * key).sum(1, keepdim=True), query @ negatives.T], 1)
            correct = torch.zeros(len(query), dtype=torch.long, device=query.device)
        return F.cross_entropy(logits / temperature, correct)


def nt_xent_without_sibling(
    target: Tensor, predicted: Tensor, temperature: float, *, positive_counts: bool
) -> Tensor:
    """EquiMod's contrast as the paper states it: the other view of an image is not a negative.

    For view i of an image with views i and j:
    -log(exp(cos(y_i, yhat_i)/t) / sum over k not in {i, j} of exp(cos(y_i, y_k)/t)), averaged over views
    (specs: arXiv:2211.01244, eq. 4 as restated by later implementations; not checked against the PDF).

    Args:
        target, predicted: (2n, d), the n first views then the n second views.
        positive_counts: whether the positive pair is in the denominator too.
    """
    with full_precision(target):
        return _nt_xent_without_sibling(
            to_float32(target), to_float32(predicted), temperature, positive_counts
        )


def _nt_xent_without_sibling(
    target: Tensor, predicted: Tensor, temperature: float, positive_counts: bool
) -> Tensor:
    target, predicted = F.normalize(target, dim=1), F.normalize(predicted, dim=1)
    n = len(target) // 2
    everyone = gather(target.view(2, n, -1).transpose(0, 1).contiguous())  # (N, 2, d): image by image
    logits = target @ everyone.flatten(0, 1).T / temperature
    image = rank() * n + torch.arange(n, device=target.device).repeat(2)
    own = torch.zeros(len(target), len(everyone), dtype=torch.bool, device=target.device)
    own = own.scatter(1, image[:, None], True).repeat_interleave(2, dim=1)
    logits = logits.masked_fill(own, -torch.inf)
    positive = (target * predicted).sum(1) / temperature
    if positive_counts:
        logits = torch.cat([logits, positive[:, None]], 1)
    return (logits.logsumexp(1) - positive).mean()
