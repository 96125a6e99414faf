"""DINO: assign crops of an image to prototypes as a slow, centred and sharpened teacher does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.distributed import mean
from equissl.encoder.encoder import Encoder
from equissl.losses.distillation import dino_loss
from equissl.losses.precision import check_temperature, to_float32
from equissl.nn.ema import Teacher, check_momentum, ema_momentum
from equissl.nn.heads import HeadNorm, HiddenNorm, project
from equissl.nn.prototype_head import PrototypeHead, PrototypeNorm
from equissl.objective import Base, Encodings, Outcome, Spaces, Views


class DINO(Base):
    """Match the prototypes that a slow teacher sees in the large crops (arXiv:2104.14294, eq. 2-4).

    The teacher sees ``views``, the student ``views`` and ``local``; every pair of different crops counts
    alike. Publishes the normalised bottlenecks as embeddings: (B, projector[-1]).
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
    class Config:
        """
        Args:
            views: the large crops, of one size.
            local: the small crops, if any (``augment.presets.multi_crop`` names them "local_1", ...).
            projector: hidden widths and the bottleneck's.
            hidden_norm: BatchNorm in the projector; the paper's head has none for transformers.
            prototypes: outputs that crops are assigned to.
            prototype_norm: lengths of the prototypes: "fixed" at 1, or "learned" (stronger, less stable).
            temperature: of the student, above 0.
            teacher_temperature: at the start and after the warm-up, above 0; lower is sharper.
            warmup: share of training over which the teacher's temperature moves linearly, in [0, 1].
            center_momentum: of the running mean that is subtracted from the teacher's outputs.
            freeze_prototypes: fraction of training with a frozen last layer (one epoch in the paper).
            momentum: of the teacher at the first step; grows to 1 along a cosine.
            copy_buffers: also move the teacher's BatchNorm buffers (the original never does).
            batch_norm: whether BatchNorm in head and teacher sees all views at once or one by one.
            part: which columns of the features are read.
        """

        views: tuple[str, ...] = ("a", "b")
        local: tuple[str, ...] = ()
        projector: tuple[int, ...] = (2048, 2048, 256)
        hidden_norm: HiddenNorm = "none"
        prototypes: int = 65536
        prototype_norm: PrototypeNorm = "fixed"
        temperature: float = 0.1
        teacher_temperature: tuple[float, float] = (0.04, 0.04)
        warmup: float = 0.3
        center_momentum: float = 0.9
        freeze_prototypes: float = 0.01
        momentum: float = 0.996
        copy_buffers: bool = False
        batch_norm: HeadNorm = "all_views"
        part: str = "all"

        def __post_init__(self) -> None:
            check_temperature("temperature", self.temperature)
            for value in self.teacher_temperature:
                check_temperature("teacher_temperature", value)
            check_momentum(self.momentum)
            for name in ("warmup", "center_momentum", "freeze_prototypes"):
                if not 0 <= getattr(self, name) <= 1:
                    raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
            if self.prototypes < 2:
                raise ValueError(f"prototypes must be at least 2, got {self.prototypes}")
            crops = (*self.views, *self.local)
            if not self.views or len(crops) < 2 or len(set(crops)) < len(crops):
                raise ValueError(f"views and local must name at least two different crops, got {crops}")

        def build(self, encoder: Encoder, spaces: Spaces) -> DINO:
            return DINO(self, encoder)

        def reads(self) -> tuple[str, ...]:
            return (*self.views, *self.local)

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        self.head = PrototypeHead(encoder.width(config.part), config)
        self.teacher = Teacher(encoder, self.head, config.part, config.batch_norm, config.copy_buffers)
        self.register_buffer("center", torch.zeros(config.prototypes))
        self.register_buffer("progress", torch.zeros(()))  # a tensor, so that no step waits for the device
        self.fresh: Tensor | None = None  # mean teacher output that waits for the end of the step

    def forward(self, views: Views, encoded: Encodings) -> Outcome:
        c = self.config
        crops = self.config.reads()
        embedded = project(self.head.embed, [encoded[v].part(c.part) for v in crops], c.batch_norm)
        frozen = self.progress < c.freeze_prototypes
        student = [self.head.assign(e, frozen) for e in embedded]
        teacher = self.teacher([views[v].images for v in c.views])
        start, end = c.teacher_temperature
        warm = (self.progress / c.warmup).clamp(max=1) if c.warmup else 1.0
        loss = dino_loss(student, teacher, self.center, c.temperature, start + (end - start) * warm)
        if self.training:
            self.fresh = torch.stack([to_float32(t).mean(0) for t in teacher]).mean(0)
        return Outcome({"assignment": loss}, dict(zip(crops, embedded, strict=True)))

    @torch.no_grad()
    def after_step(self, encoder: Encoder, progress: float) -> None:
        c = self.config
        self.teacher.update_ema(encoder, self.head, ema_momentum(c.momentum, progress))
        self.progress.fill_(progress)
        if self.fresh is not None:
            self.center.lerp_(mean(self.fresh).to(self.center.dtype), 1 - c.center_momentum)
            self.fresh = None
