"""A slowly moving copy of an encoder and its head, as BYOL, MoCo and DINO learn from."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from equissl.encoder.encoder import Encoded, Encoder
from equissl.nn.heads import HeadNorm, project

MomentumSchedule = Literal["cosine", "constant"]


class Teacher(nn.Module):
    """A copy of an encoder and a head that no gradient reaches and that follows the originals.

    A copy, never a reference: the online encoder belongs to the model and is saved there.

    Args:
        part: which columns of the features the head reads.
        batch_norm: whether BatchNorm sees all views at once or one by one.
        copy_buffers: also move the BatchNorm statistics; otherwise the teacher gathers its own.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Module,
        part: str = "all",
        batch_norm: HeadNorm = "all_views",
        copy_buffers: bool = False,
    ):
        super().__init__()
        self.encoder, self.head = copy.deepcopy(encoder), copy.deepcopy(head)
        self.part, self.batch_norm, self.copy_buffers = part, batch_norm, copy_buffers
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Views of one size, (B, C, h, w) each -> the head's outputs, (B, d) each."""
        return project(self._encode, images, self.batch_norm)

    @torch.no_grad()
    def encode(self, images: Sequence[Tensor]) -> tuple[Encoded, ...]:
        """Views of one size, (B, C, h, w) each -> what the encoder says of each, before the head."""
        if self.batch_norm == "per_view":
            return tuple(self.encoder(view) for view in images)
        whole, count = self.encoder(torch.cat(list(images))), len(images[0])
        return tuple(whole.rows(k * count, (k + 1) * count) for k in range(len(images)))

    def _encode(self, images: Tensor) -> Tensor:
        result: Tensor = self.head(self.encoder(images).part(self.part))
        return result

    @torch.no_grad()
    def follow(self, encoder: Encoder, head: nn.Module, momentum: float) -> None:
        """Move to momentum * own + (1 - momentum) * original."""
        slow: list[Tensor] = list(self.parameters())
        fast = [p.detach() for p in (*encoder.parameters(), *head.parameters())]
        torch._foreach_lerp_(slow, fast, 1 - momentum)
        if self.copy_buffers:
            for mine, theirs in zip(self.buffers(), (*encoder.buffers(), *head.buffers()), strict=True):
                mine.copy_(theirs)


def teacher_momentum(base: float, progress: float, schedule: MomentumSchedule = "cosine") -> float:
    """Momentum after a share ``progress`` of all steps: from base to 1 (BYOL, section 3.3), or constant."""
    if schedule == "constant":
        return base
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2


def check_momentum(momentum: float) -> None:
    """
    Raises:
        ValueError: ``momentum`` is not in [0, 1].
    """
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum must be in [0, 1], got {momentum}")
