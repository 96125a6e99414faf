"""MoCo v2: find an image's other view, as a slow teacher sees it, among a queue of earlier images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.distributed import gather
from equissl.encoder.encoder import Encoder
from equissl.losses.contrastive import info_nce
from equissl.losses.precision import check_temperature
from equissl.losses.similarity import Directions
from equissl.nn.ema import MomentumSchedule, Teacher, check_momentum, ema_momentum
from equissl.nn.heads import MLP, HeadNorm, HiddenNorm, project
from equissl.objective import Base, Encodings, Outcome, Spaces, Views


class MoCo(Base):
    """Contrast with a queue of a slow teacher's earlier keys (arXiv:2003.04297; arXiv:1911.05722, eq. 1).

    The first view is the query, the second the key. A view with ``encode=False`` serves as key only, which
    saves a pass. Publishes the projections of the encoded views as embeddings: (B, projector[-1]).
    """

    title: ClassVar[str] = "MoCo v2"
    paper: ClassVar[str] = "arXiv:2003.04297"
    bibtex: ClassVar[str] = r"""
    @inproceedings{moco2020,
      title = {{Momentum Contrast for Unsupervised Visual Representation Learning}},
      author = {He, Kaiming and Fan, Haoqi and Wu, Yuxin and Xie, Saining and Girshick, Ross},
      booktitle = {Conference on Computer Vision and Pattern Recognition},
      year = {2020},
      eprint = {1911.05722},
      archivePrefix = {arXiv},
    }
    @misc{mocov22020,
      title = {{Improved Baselines with Momentum Contrastive Learning}},
      author = {Chen, Xinlei and Fan, Haoqi and Girshick, Ross and He, Kaiming},
      year = {2020},
      eprint = {2003.04297},
      archivePrefix = {arXiv},
    }
    """
    queue: Tensor
    pointer: Tensor

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """
        Args:
            projector: hidden and output widths (v1: a single layer, ``(128,)``).
            hidden_norm: BatchNorm in the projector's hidden layers; the paper has none.
            queue: keys that are remembered, over all processes; need not be a multiple of the batch.
            temperature: above 0 (v1 0.07, v2 0.2).
            momentum: of the teacher.
            momentum_schedule: "constant" (the paper), or "cosine" up to 1.
            directions: "one", the paper's, or "both": each view is the query once.
            copy_buffers: also move the teacher's BatchNorm buffers (the original never does).
            batch_norm: whether BatchNorm in heads and teacher sees both views at once or one by one.
            part: which columns of the features are read.
        """

        views: tuple[str, str] = ("a", "b")
        projector: tuple[int, ...] = (2048, 128)
        hidden_norm: HiddenNorm = "none"
        queue: int = 65536
        temperature: float = 0.2
        momentum: float = 0.999
        momentum_schedule: MomentumSchedule = "constant"
        directions: Directions = "one"
        copy_buffers: bool = False
        batch_norm: HeadNorm = "per_view"
        part: str = "all"

        def __post_init__(self) -> None:
            check_temperature("temperature", self.temperature)
            check_momentum(self.momentum)
            if self.queue < 1:
                raise ValueError(f"queue must hold at least 1 key, got {self.queue}")

        def build(self, encoder: Encoder, spaces: Spaces) -> MoCo:
            return MoCo(self, encoder)

        def reads(self) -> tuple[str, ...]:
            return self.views

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        sizes = (encoder.width(config.part), *config.projector)
        self.projector = MLP(sizes, hidden_norm=config.hidden_norm)
        self.teacher = Teacher(encoder, self.projector, config.part, config.batch_norm, config.copy_buffers)
        self.register_buffer("queue", F.normalize(torch.randn(config.queue, config.projector[-1]), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))
        self.fresh: tuple[Tensor, ...] = ()  # keys that wait for the end of the step

    def forward(self, views: Views, encoded: Encodings) -> Outcome:
        c = self.config
        sides = c.views if c.directions == "both" else c.views[:1]
        online = [v for v in c.views if v in encoded]
        z = project(self.projector, [encoded[v].part(c.part) for v in online], c.batch_norm)
        projected = dict(zip(online, z, strict=True))
        others = c.views[::-1][: len(sides)]
        keys = self.teacher([views[v].images for v in others])
        losses = [
            info_nce(projected[v], k, c.temperature, self.queue) for v, k in zip(sides, keys, strict=True)
        ]
        if self.training:
            self.fresh = keys
        return Outcome({"contrast": sum(losses[1:], losses[0]) / len(losses)}, projected)

    def after_step(self, encoder: Encoder, progress: float) -> None:
        c = self.config
        momentum = ema_momentum(c.momentum, progress, c.momentum_schedule)
        self.teacher.update_ema(encoder, self.projector, momentum)
        if self.fresh:
            self.enqueue(torch.cat([gather(k) for k in self.fresh]))
            self.fresh = ()

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Put keys (n, d) in place of the oldest; of more than the queue holds, the last ones stay."""
        size = len(self.queue)
        places = (self.pointer + torch.arange(len(keys), device=keys.device)[-size:]) % size
        self.queue[places] = F.normalize(keys[-size:].to(self.queue.dtype), dim=1)
        self.pointer.add_(len(keys)).remainder_(size)
