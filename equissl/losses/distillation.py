"""Assignments to prototypes: the cross entropies of DINO and iBOT, and how a teacher's are balanced."""

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
    """Cross entropy of the student's assignments to the teacher's, over pairs of different crops (eq. 3).

    Args:
        student: outputs of all crops, (n, K) each; those of the teacher's crops stand first, in its order.
        teacher: outputs of the large crops, (n, K) each.
        center: (K,), subtracted from the teacher's outputs.
    """
    wanted = [centred(output, center, teacher_temperature) for output in teacher]
    return dino_loss_of(student, wanted, temperature)


def dino_loss_of(student: Sequence[Tensor], wanted: Sequence[Tensor], temperature: float) -> Tensor:
    """``dino_loss`` for a teacher's assignments, (n, K) each, whose rows add up to 1."""
    with full_precision(student[0]):
        scores = [(to_float32(s) / temperature).log_softmax(1) for s in student]
        everyone = torch.stack(scores).sum(0)
        total = scores[0].new_zeros(())
        for target, own in zip(wanted, scores, strict=False):
            total = total - (target * (everyone - own)).sum(1).mean()
        return total / (len(wanted) * (len(student) - 1))


def patch_loss(student: Tensor, wanted: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Cross entropy of masked patches, averaged over those of an image, then over images (iBOT, eq. 2).

    An image without masked patches counts as 0, as in the released code.

    Args:
        student, wanted: (n, p, K), outputs and the teacher's assignments.
        mask: (n, p), 1 where the patch was masked for the student.
    """
    with full_precision(student):
        scores = (to_float32(student) / temperature).log_softmax(2)
        each = -(wanted * scores).sum(2)
        return ((each * mask).sum(1) / mask.sum(1).clamp(min=1)).mean()


def centred(output: Tensor, center: Tensor, temperature: float | Tensor) -> Tensor:
    """A teacher's assignments by DINO: softmax of (..., K) minus the running mean."""
    with full_precision(output):
        return ((to_float32(output) - center) / temperature).softmax(-1)


@torch.no_grad()
def sinkhorn(
    output: Tensor, temperature: float | Tensor, weight: Tensor | None = None, rounds: int = 3
) -> Tensor:
    """A teacher's assignments in which all prototypes are used alike (SwAV, arXiv:2006.09882, section 3.1).

    Over the rows of all processes: (n, K) -> (n, K), rows adding up to 1.

    Args:
        weight: (n,), 0 for rows that do not count; they come out as 0.
    """
    with full_precision(output):
        scaled = to_float32(output) / temperature
        # One number for all processes, so that their rows stay comparable.
        shares = (scaled - gather(scaled.max()[None]).max()).exp()
        shares = shares if weight is None else shares * weight[:, None]
        tiny = torch.finfo(shares.dtype).tiny
        for _ in range(rounds):
            shares = shares / mean(shares.sum(0)).clamp(min=tiny)
            shares = shares / shares.sum(1, keepdim=True).clamp(min=tiny)
        return shares
