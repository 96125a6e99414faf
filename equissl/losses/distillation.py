"""Distillation losses (DINO, iBOT, of features) and the centering of teacher outputs (DINO, SwAV)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equissl.distributed import gather, mean
from equissl.losses.precision import full_precision, to_float32


def dino_loss(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    center: Tensor,
    temperature: float,
    teacher_temperature: float | Tensor,
) -> Tensor:
    """Cross entropy of student and centred teacher, mean over pairs of different crops (DINO, eq. 3).

    Args:
        student: logits of all crops, (n, K) each; those of the teacher's crops stand first, in its order.
        teacher: logits of the large crops, (n, K) each.
        center: (K,), subtracted from the teacher's logits.

    >>> crops = [torch.zeros(3, 4)] * 2
    >>> float(dino_loss(crops, crops, torch.zeros(4), 0.1, 0.04)) == float(torch.log(torch.tensor(4.0)))
    True
    """
    targets = [centered_softmax(logits, center, teacher_temperature) for logits in teacher]
    return distillation_loss(student, targets, temperature)


def distillation_loss(student: Sequence[Tensor], targets: Sequence[Tensor], temperature: float) -> Tensor:
    """``dino_loss`` for given teacher probabilities ``targets``, (n, K) each."""
    with full_precision(student[0]):
        log_probabilities = [(to_float32(s) / temperature).log_softmax(1) for s in student]
        all_crops = torch.stack(log_probabilities).sum(0)
        total = log_probabilities[0].new_zeros(())
        for target, same_crop in zip(targets, log_probabilities, strict=False):
            total = total - (target * (all_crops - same_crop)).sum(1).mean()
        return total / (len(targets) * (len(student) - 1))


def patch_loss(student: Tensor, targets: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Cross entropy of masked patches, mean over those of an image, then over images (iBOT, eq. 2).

    An image without masked patches counts as 0, as in the released code.

    Args:
        student, targets: (n, p, K), the student's logits and the teacher's probabilities.
        mask: (n, p), 1 for masked patches.
    """
    with full_precision(student):
        log_probabilities = (to_float32(student) / temperature).log_softmax(2)
        losses = -(targets * log_probabilities).sum(2)
        return ((losses * mask).sum(1) / mask.sum(1).clamp(min=1)).mean()


def relative_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Squared error over the variance of the targets between rows: (n, d), (n, d) -> (), at least 0.

    0 is exact, 1 what the mean of the targets would give; 1 - R2, pooled over columns. The variance is over
    the rows of all processes, of which each has as many.

    >>> targets = torch.tensor([[0.0], [2.0]])
    >>> float(relative_error(targets, targets)), float(relative_error(torch.ones(2, 1), targets))
    (0.0, 1.0)
    """
    error = (predictions - targets).square().sum(1).mean()
    variance = mean((targets - mean(targets.mean(0))).square().mean(0)).sum()
    return error / variance.clamp(min=1e-12)


def centered_softmax(logits: Tensor, center: Tensor, temperature: float | Tensor) -> Tensor:
    """DINO's teacher probabilities: softmax of the logits (..., K) minus their running mean (K,)."""
    with full_precision(logits):
        return ((to_float32(logits) - center) / temperature).softmax(-1)


@torch.no_grad()
def sinkhorn(
    logits: Tensor, temperature: float | Tensor, weight: Tensor | None = None, num_iterations: int = 3
) -> Tensor:
    """Sinkhorn-Knopp: teacher probabilities that use all prototypes equally (SwAV, arXiv:2006.09882).

    Over the rows of all processes: (n, K) -> (n, K), rows sum to 1.

    Args:
        weight: (n,), 0 for rows to leave out; their probabilities are 0.

    >>> sinkhorn(torch.zeros(2, 4), temperature=0.1).tolist()
    [[0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]]
    """
    with full_precision(logits):
        scaled = to_float32(logits) / temperature
        # One maximum for all processes, so that their rows stay comparable.
        q = (scaled - gather(scaled.max()[None]).max()).exp()
        q = q if weight is None else q * weight[:, None]
        tiny = torch.finfo(q.dtype).tiny
        for _ in range(num_iterations):
            q = q / mean(q.sum(0)).clamp(min=tiny)
            q = q / q.sum(1, keepdim=True).clamp(min=tiny)
        return q
