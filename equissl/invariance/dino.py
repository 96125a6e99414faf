"""DINO (Caron et al., 2021): cross entropy to a centred and sharpened EMA teacher over multi-crop views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.distributed import mean
from equissl.encoder.encoder import Encoder
from equissl.invariance._self_distillation import DistillationConfig
from equissl.losses.distillation import dino_loss
from equissl.losses.precision import to_float32
from equissl.nn.ema import Teacher, ema_momentum
from equissl.nn.heads import apply_head
from equissl.objective import Base, BaseOutput, Encodings, MultiCropConfig, Spaces, Views


class DINO(Base):
    """DINO (Caron et al., 2021): cross entropy to a centred and sharpened EMA teacher over multi-crop views.

    arXiv:2104.14294, eq. 2-4. The teacher encodes ``views``, the student ``views`` and ``local``; the loss is
    the mean over pairs of different crops. Embeddings: the normalised bottlenecks, (B, projector[-1]).
    """

    paper: ClassVar[str] = "arXiv:2104.14294"
    bibtex: ClassVar[str] = r"""
    @inproceedings{dino2021,
      title = {{Emerging Properties in Self-Supervised Vision Transformers}},
      author = {Caron, Mathilde and Touvron, Hugo and Misra, Ishan and J{\'e}gou, Herv{\'e} and Mairal,
        Julien and Bojanowski, Piotr and Joulin, Armand},
      booktitle = {International Conference on Computer Vision},
      year = {2021},
      eprint = {2104.14294},
      archivePrefix = {arXiv},
    }
    """
    center: Tensor
    progress: Tensor

    @dataclass(frozen=True, kw_only=True)
    class Config(DistillationConfig, MultiCropConfig):
        """As ``DistillationConfig`` and ``MultiCropConfig``, with DINO's defaults."""

        num_prototypes: int = 65536
        teacher_temperature: tuple[float, float] = (0.04, 0.04)

        def __post_init__(self) -> None:
            DistillationConfig.__post_init__(self)
            MultiCropConfig.__post_init__(self)

        def build(self, encoder: Encoder, spaces: Spaces) -> DINO:
            return DINO(self, encoder)

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        self.head = config.head(encoder.width(config.part))
        self.teacher = Teacher(encoder, self.head, config.part, config.batch_norm, config.copy_buffers)
        self.register_buffer("center", torch.zeros(config.num_prototypes))
        self.register_buffer("progress", torch.zeros(()))  # a tensor, so that no step waits for the device
        self.batch_center: Tensor | None = None  # mean teacher output, used after the optimizer step

    def forward(self, views: Views, encoded: Encodings) -> BaseOutput:
        c = self.config
        crops = c.reads()
        embeddings = apply_head(self.head.embed, [encoded[v].part(c.part) for v in crops], c.batch_norm)
        frozen = self.progress < c.freeze_prototypes
        student = [self.head.logits(e, frozen) for e in embeddings]
        teacher = self.teacher([views[v].images for v in c.views])
        teacher_temperature = c.warmed_up(c.teacher_temperature, self.progress)
        loss = dino_loss(student, teacher, self.center, c.temperature, teacher_temperature)
        if self.training:
            self.batch_center = torch.stack([to_float32(t).mean(0) for t in teacher]).mean(0)
        return BaseOutput({"assignment": loss}, dict(zip(crops, embeddings, strict=True)))

    @torch.no_grad()
    def after_step(self, encoder: Encoder, progress: float) -> None:
        c = self.config
        self.teacher.update_ema(encoder, self.head, ema_momentum(c.momentum, progress))
        self.progress.fill_(progress)
        if self.batch_center is not None:
            self.center.lerp_(mean(self.batch_center).to(self.center.dtype), 1 - c.center_momentum)
            self.batch_center = None
