"""BYOL: predict what a slowly moving copy of oneself says of the other view."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from equissl.encoder.encoder import Encoder
from equissl.encoder.heads import MLP, together
from equissl.losses import negative_cosine
from equissl.objective import Base, Encodings, Outcome, Spaces, Views


class BYOL(Base):
    """Predict a slowly moving copy of oneself (arXiv:2006.07733, eq. 2; both directions summed).

    The loss is 2 times the mean over all 2B rows of (2 - 2 cos), in [0, 8], as EquiMod's code has it.
    Publishes the projections as embeddings: (B, projector[-1]).
    """

    paper: ClassVar[str] = "arXiv:2006.07733"

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """
        Args:
            projector, predictor: hidden and output widths.
            momentum: of the teacher at the first step; grows to 1 along a cosine.
            copy_buffers: also move the teacher's BatchNorm buffers (the original never does).
            part: which columns of the features are read.
        """

        views: tuple[str, str] = ("a", "b")
        projector: tuple[int, ...] = (4096, 256)
        predictor: tuple[int, ...] = (4096, 256)
        momentum: float = 0.996
        copy_buffers: bool = False
        part: str = "all"

        def __post_init__(self) -> None:
            if not 0 <= self.momentum <= 1:
                raise ValueError(f"momentum must be in [0, 1], got {self.momentum}")

        def build(self, encoder: Encoder, spaces: Spaces) -> BYOL:
            return BYOL(self, encoder)

        def reads(self) -> tuple[str, ...]:
            return self.views

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        self.projector = MLP((encoder.width(config.part), *config.projector))
        self.predictor = MLP((config.projector[-1], *config.predictor))
        # A copy, never a reference: the online encoder belongs to the model and is saved there.
        self.teacher = copy.deepcopy(nn.ModuleList([encoder, self.projector])).requires_grad_(False)

    def forward(self, views: Views, encoded: Encodings) -> Outcome:
        c = self.config
        z = together(self.projector, [encoded[v].part(c.part) for v in c.views])
        p = together(self.predictor, z)
        with torch.no_grad():
            targets = self._targets([views[v].images for v in c.views])
        loss = byol_loss(p[0], targets[1]) + byol_loss(p[1], targets[0])
        return Outcome({"similarity": loss}, dict(zip(c.views, z, strict=True)))

    def _targets(self, images: list[Tensor]) -> tuple[Tensor, ...]:
        encoder, projector = self.teacher
        features = encoder(torch.cat(images)).part(self.config.part)
        return tuple(projector(features).split([len(i) for i in images]))

    @torch.no_grad()
    def after_step(self, encoder: Encoder, progress: float) -> None:
        online = nn.ModuleList([encoder, self.projector])
        rate = 1 - teacher_momentum(self.config.momentum, progress)
        slow: list[Tensor] = list(self.teacher.parameters())
        torch._foreach_lerp_(slow, [p.detach() for p in online.parameters()], rate)
        if self.config.copy_buffers:
            for mine, theirs in zip(self.teacher.buffers(), online.buffers(), strict=True):
                mine.copy_(theirs)


def byol_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean over rows of 2 - 2 cos, one direction: (n, d), (n, d) -> (), in [0, 4]."""
    return 2 + 2 * negative_cosine(predicted, target)


def teacher_momentum(base: float, progress: float) -> float:
    """Momentum after a share ``progress`` of all steps: base at 0, 1 at 1 (BYOL, section 3.3)."""
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2
