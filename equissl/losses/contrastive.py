"""Contrastive losses: NT-Xent (SimCLR), InfoNCE (MoCo), EquiMod's; embeddings of all ranks are gathered."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.distributed import gather, rank
from equissl.losses.precision import full_precision, one_hot_mask, to_float32

Negatives = Literal["all", "other_view"]


def nt_xent(a: Tensor, b: Tensor, temperature: float, negatives: Negatives = "all") -> Tensor:
    """NT-Xent, normalised-temperature cross entropy (SimCLR, arXiv:2002.05709, eq. 1), mean over 2n anchors.

    Args:
        a, b: (n, d), row i of one is the positive of row i of the other; need not be normalised.
        temperature: above 0.
        negatives: "all": every row of both views but the anchor is in the denominator (2n - 2 negatives,
            SimCLR, EquiMod, SIE); "other_view": only the other view's rows are (n - 1 negatives, E-SSL, MoCo
            v3).

    >>> x = torch.eye(4)  # positives equal, negatives orthogonal
    >>> round(float(nt_xent(x, x, temperature=0.5)), 3)
    0.594
    """
    with full_precision(a):
        return _nt_xent(to_float32(a), to_float32(b), temperature, negatives)


def _nt_xent(a: Tensor, b: Tensor, temperature: float, negatives: Negatives) -> Tensor:
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    all_a, all_b = gather(a), gather(b)
    positive = rank() * len(a) + torch.arange(len(a), device=a.device)
    total = a.new_zeros(())
    for anchors, other_view, same_view in ((a, all_b, all_a), (b, all_a, all_b)):
        logits = anchors @ other_view.T / temperature
        if negatives == "all":
            same = anchors @ same_view.T / temperature
            same = same.masked_fill(one_hot_mask(positive, same), -torch.inf)
            logits = torch.cat([logits, same], 1)
        total = total + F.cross_entropy(logits, positive)
    return total / 2


def info_nce(query: Tensor, key: Tensor, temperature: float, queue: Tensor | None = None) -> Tensor:
    """InfoNCE: cross entropy of each query's key among negatives, mean over queries.

    Args:
        query, key: (n, d), row i of one is the positive of row i of the other; need not be normalised.
        temperature: above 0.
        queue: (K, d), the negatives (MoCo, arXiv:1911.05722, eq. 1); without it, the other keys of the batch
            (n - 1 negatives over all processes, MoCo v3, arXiv:2104.02057, eq. 1).

    >>> x = torch.eye(4)
    >>> round(float(info_nce(x, x, temperature=0.5)), 3)
    0.341
    """
    with full_precision(query):
        query, key = F.normalize(to_float32(query), dim=1), F.normalize(to_float32(key), dim=1)
        if queue is None:
            logits = query @ gather(key).T
            positive = rank() * len(query) + torch.arange(len(query), device=query.device)
        else:
            negatives = F.normalize(to_float32(queue), dim=1)
            logits = torch.cat([(query * key).sum(1, keepdim=True), query @ negatives.T], 1)
            positive = torch.zeros(len(query), dtype=torch.long, device=query.device)
        return F.cross_entropy(logits / temperature, positive)


def nt_xent_without_sibling(
    targets: Tensor, predictions: Tensor, temperature: float, *, positive_in_denominator: bool
) -> Tensor:
    """EquiMod's contrastive loss as the paper states it: the other view of an image is not a negative.

    For view i of an image with views i and j:
    -log(exp(cos(y_i, yhat_i)/t) / sum over k not in {i, j} of exp(cos(y_i, y_k)/t)), averaged over views
    (specs: arXiv:2211.01244, eq. 4 as restated by later implementations; not checked against the PDF).

    Args:
        targets, predictions: (2n, d), the n first views, then the n second views.
        temperature: above 0.
        positive_in_denominator: whether the positive pair is in the denominator too.
    """
    with full_precision(targets):
        return _nt_xent_without_sibling(
            to_float32(targets), to_float32(predictions), temperature, positive_in_denominator
        )


def _nt_xent_without_sibling(
    targets: Tensor, predictions: Tensor, temperature: float, positive_in_denominator: bool
) -> Tensor:
    targets, predictions = F.normalize(targets, dim=1), F.normalize(predictions, dim=1)
    n = len(targets) // 2
    all_targets = gather(targets.view(2, n, -1).transpose(0, 1).contiguous())  # (N, 2, d): image by image
    logits = targets @ all_targets.flatten(0, 1).T / temperature
    image = rank() * n + torch.arange(n, device=targets.device).repeat(2)
    same_image = torch.zeros(len(targets), len(all_targets), dtype=torch.bool, device=targets.device)
    same_image = same_image.scatter(1, image[:, None], True).repeat_interleave(2, dim=1)
    logits = logits.masked_fill(same_image, -torch.inf)
    positive = (targets * predictions).sum(1) / temperature
    if positive_in_denominator:
        logits = torch.cat([logits, positive[:, None]], 1)
    return (logits.logsumexp(1) - positive).mean()
