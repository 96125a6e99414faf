"""DINO (Caron et al., 2021): cross entropy to a centred and sharpened EMA teacher over multi-crop views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.config.validation import check_bounds
from equissl.distributed import mean
from equissl.encoder.encoder import Encoder
from equissl.losses.distillation import dino_loss
from equissl.losses.precision import to_float32
from equissl.nn.ema import Teacher, ema_momentum
from equissl.nn.heads import HeadNorm, HiddenNorm, apply_head
from equissl.nn.prototype_head import PrototypeHead, PrototypeNorm
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
    class Config(MultiCropConfig):
        """
        Args:
            projector: hidden widths and the width of the bottleneck.
            hidden_norm: BatchNorm in the projector; the paper's head has none for transformers.
            num_prototypes: number of outputs K.
            prototype_norm: norm of the prototypes: "fixed" at 1, or "learned" (stronger, less stable).
            temperature: student temperature, above 0.
            teacher_temperature: at the start and after the warm-up, above 0; lower is sharper.
            temperature_warmup: fraction of training with a linear warm-up of teacher_temperature, in [0, 1].
            center_momentum: EMA coefficient of the center, the mean teacher output, in [0, 1].
            freeze_prototypes: fraction of training with a frozen last layer, in [0, 1] (one epoch in the
                paper).
            momentum: EMA coefficient of the teacher at the first step, in [0, 1]; grows to 1 along a cosine.
            copy_buffers: copy the BatchNorm statistics to the teacher (the original does not).
            batch_norm: whether BatchNorm in head and teacher sees all views at once or one after the other.
        """

        projector: tuple[int, ...] = (2048, 2048, 256)
        hidden_norm: HiddenNorm = "none"
        num_prototypes: int = 65536
        prototype_norm: PrototypeNorm = "fixed"
        temperature: float = 0.1
        teacher_temperature: tuple[float, float] = (0.04, 0.04)
        temperature_warmup: float = 0.3
        center_momentum: float = 0.9
        freeze_prototypes: float = 0.01
        momentum: float = 0.996
        copy_buffers: bool = False
        batch_norm: HeadNorm = "all_views"

        def __post_init__(self) -> None:
            check_bounds(self, "temperature", "teacher_temperature", above=0)
            check_bounds(self, "momentum", "temperature_warmup", "center_momentum", low=0, high=1)
            check_bounds(self, "freeze_prototypes", low=0, high=1)
            check_bounds(self, "num_prototypes", low=2)
            super().__post_init__()

        def build(self, encoder: Encoder, spaces: Spaces) -> DINO:
            return DINO(self, encoder)

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        self.head = PrototypeHead(encoder.width(config.part), config)
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
        start, end = c.teacher_temperature
        warmup = (self.progress / c.temperature_warmup).clamp(max=1) if c.temperature_warmup else 1.0
        loss = dino_loss(student, teacher, self.center, c.temperature, start + (end - start) * warmup)
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
