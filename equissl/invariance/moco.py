"""MoCo v2 (Chen et al., 2020): InfoNCE against a queue of keys from a momentum encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.config.validation import check_bounds, check_widths
from equissl.distributed import gather
from equissl.encoder.encoder import Encoder
from equissl.losses.contrastive import info_nce
from equissl.nn.ema import MomentumSchedule, Teacher, ema_momentum
from equissl.nn.heads import MLP, HeadNorm, HiddenNorm, apply_head
from equissl.objective import Base, BaseOutput, Encodings, Spaces, TwoViewConfig, Views


class MoCo(Base):
    """MoCo v2 (Chen et al., 2020): InfoNCE against a queue of keys from a momentum encoder.

    arXiv:2003.04297; loss: arXiv:1911.05722, eq. 1. The first view is the query, the second the key. A key
    view with ``encode=False`` skips the online encoder. Embeddings: the projections of the encoded views,
    (B, projector[-1]).
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
    class Config(TwoViewConfig):
        """
        Args:
            projector: hidden and output widths (v1: a single layer, ``(128,)``).
            hidden_norm: BatchNorm in the projector's hidden layers; the paper has none.
            queue_size: number of keys in the queue, summed over ranks; need not be a multiple of the batch.
            temperature: above 0 (v1 0.07, v2 0.2).
            momentum: EMA coefficient of the key encoder, in [0, 1].
            momentum_schedule: "constant" (the paper), or "cosine" up to 1.
            symmetric: also use view b as the query (as MoCo v3); the paper does not.
            copy_buffers: copy the BatchNorm statistics to the key encoder (the original does not).
            batch_norm: whether BatchNorm in heads and key encoder sees both views at once or one after the
                other.
        """

        projector: tuple[int, ...] = (2048, 128)
        hidden_norm: HiddenNorm = "none"
        queue_size: int = 65536
        temperature: float = 0.2
        momentum: float = 0.999
        momentum_schedule: MomentumSchedule = "constant"
        symmetric: bool = False
        copy_buffers: bool = False
        batch_norm: HeadNorm = "per_view"

        def __post_init__(self) -> None:
            super().__post_init__()
            check_widths(self, "projector")
            check_bounds(self, "temperature", above=0)
            check_bounds(self, "momentum", low=0, high=1)
            check_bounds(self, "queue_size", low=1, high=10_000_000)

        def build(self, encoder: Encoder, spaces: Spaces) -> MoCo:
            return MoCo(self, encoder)

        def reads_encoded(self) -> tuple[str, ...]:
            """The queries; the momentum encoder makes the keys from images."""
            return self.views if self.symmetric else self.views[:1]

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        sizes = (encoder.width(config.part), *config.projector)
        self.projector = MLP(sizes, hidden_norm=config.hidden_norm)
        self.teacher = Teacher(encoder, self.projector, config.part, config.batch_norm, config.copy_buffers)
        self.register_buffer(
            "queue", F.normalize(torch.randn(config.queue_size, config.projector[-1]), dim=1)
        )
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))
        self.new_keys: tuple[Tensor, ...] = ()  # enqueued after the optimizer step

    def forward(self, views: Views, encoded: Encodings) -> BaseOutput:
        c = self.config
        query_views = c.reads_encoded()
        key_views = c.views[::-1][: len(query_views)]
        online = [v for v in c.views if v in encoded]
        z = apply_head(self.projector, [encoded[v].part(c.part) for v in online], c.batch_norm)
        projections = dict(zip(online, z, strict=True))
        keys = self.teacher([views[v].images for v in key_views])
        losses = [
            info_nce(projections[v], k, c.temperature, self.queue)
            for v, k in zip(query_views, keys, strict=True)
        ]
        if self.training:
            self.new_keys = keys
        return BaseOutput({"contrast": sum(losses[1:], losses[0]) / len(losses)}, projections)

    def after_step(self, encoder: Encoder, progress: float) -> None:
        c = self.config
        momentum = ema_momentum(c.momentum, progress, c.momentum_schedule)
        self.teacher.update_ema(encoder, self.projector, momentum)
        if self.new_keys:
            self.enqueue(torch.cat([gather(k) for k in self.new_keys]))
            self.new_keys = ()

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys by ``keys`` (n, d); of more than the queue holds, the last ones stay."""
        size = len(self.queue)
        positions = (self.pointer + torch.arange(len(keys), device=keys.device)[-size:]) % size
        self.queue[positions] = F.normalize(keys[-size:].to(self.queue.dtype), dim=1)
        self.pointer.add_(len(keys)).remainder_(size)
