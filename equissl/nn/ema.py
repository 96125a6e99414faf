"""EMA teacher: a momentum encoder and head, as in BYOL, MoCo and DINO."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from equissl.encoder.encoder import Encoded, Encoder
from equissl.nn.heads import HeadNorm, apply_head

MomentumSchedule = Literal["cosine", "constant"]


class Teacher(nn.Module):
    """Exponential moving average of an encoder and a head; no gradient reaches it.

    timm's ModelEmaV3 updates weights in the same way, but averages or copies buffers always, where most
    papers let the teacher's BatchNorm keep statistics of its own, and it stays in evaluation mode.

    Args:
        encoder, head: copied; the online encoder belongs to the model and is saved there.
        part: which columns of the features the head reads.
        batch_norm: whether BatchNorm sees all views at once or one by one.
        copy_buffers: copy BatchNorm statistics in every update; otherwise the teacher keeps its own.
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
        return apply_head(self._encode, images, self.batch_norm)

    @torch.no_grad()
    def encode(self, images: Sequence[Tensor]) -> tuple[Encoded, ...]:
        """Views of one size, (B, C, h, w) each -> features of each, before the head."""
        if self.batch_norm == "per_view":
            return tuple(self.encoder(view) for view in images)
        whole, count = self.encoder(torch.cat(list(images))), len(images[0])
        return tuple(whole.rows(k * count, (k + 1) * count) for k in range(len(images)))

    def _encode(self, images: Tensor) -> Tensor:
        result: Tensor = self.head(self.encoder(images).part(self.part))
        return result

    @torch.no_grad()
    def update_ema(self, encoder: Encoder, head: nn.Module, momentum: float) -> None:
        """weights <- momentum * weights + (1 - momentum) * online weights."""
        ema: list[Tensor] = list(self.parameters())
        online = [p.detach() for p in (*encoder.parameters(), *head.parameters())]
        torch._foreach_lerp_(ema, online, 1 - momentum)
        if self.copy_buffers:
            for buffer, source in zip(self.buffers(), (*encoder.buffers(), *head.buffers()), strict=True):
                buffer.copy_(source)


def ema_momentum(base: float, progress: float, schedule: MomentumSchedule = "cosine") -> float:
    """EMA momentum after a fraction ``progress`` of the steps: from base to 1 (BYOL, 3.3), or constant.

    >>> [round(ema_momentum(0.99, progress), 4) for progress in (0.0, 0.5, 1.0)]
    [0.99, 0.995, 1.0]
    """
    if schedule == "constant":
        return base
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2
