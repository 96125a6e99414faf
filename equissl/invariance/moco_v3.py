"""MoCo v3: find an image's other view, as a slow teacher sees it, among the rest of the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from equissl.encoder.encoder import Encoder
from equissl.losses.contrastive import info_nce
from equissl.losses.precision import check_temperature
from equissl.nn.ema import MomentumSchedule, Teacher, check_momentum, ema_momentum
from equissl.nn.heads import MLP, HeadNorm, OutputNorm, project
from equissl.objective import Base, Encodings, Outcome, Spaces, Views


class MoCoV3(Base):
    """Contrast a prediction with a slow teacher's keys of the batch (arXiv:2104.02057, eq. 1, algorithm 1).

    The loss is 2 * temperature times the sum over both directions, as in the paper's algorithm. Publishes the
    projections as embeddings: (B, projector[-1]).
    """

    title: ClassVar[str] = "MoCo v3"
    paper: ClassVar[str] = "arXiv:2104.02057"
    bibtex: ClassVar[str] = r"""
    @inproceedings{mocov32021,
      title = {{An Empirical Study of Training Self-Supervised Vision Transformers}},
      author = {Chen, Xinlei and Xie, Saining and He, Kaiming},
      booktitle = {International Conference on Computer Vision},
      year = {2021},
      eprint = {2104.02057},
      archivePrefix = {arXiv},
    }
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """
        Args:
            projector, predictor: hidden and output widths; the last ones must agree. For transformers the
                original has a three-layer projector ``(4096, 4096, 256)``.
            output_norm: BatchNorm after the last layer of both ("fixed": the original's).
            temperature: above 0 (original: 1 for ResNet-50, 0.2 for transformers).
            momentum: of the teacher at the first step (original: 0.99, 0.996 for 1000 epochs).
            momentum_schedule: "cosine" up to 1 (the original's runs), or "constant".
            copy_buffers: also move the teacher's BatchNorm buffers (the original never does).
            batch_norm: whether BatchNorm in heads and teacher sees both views at once or one by one.
            part: which columns of the features are read.
        """

        views: tuple[str, str] = ("a", "b")
        projector: tuple[int, ...] = (4096, 256)
        predictor: tuple[int, ...] = (4096, 256)
        output_norm: OutputNorm = "fixed"
        temperature: float = 1.0
        momentum: float = 0.99
        momentum_schedule: MomentumSchedule = "cosine"
        copy_buffers: bool = False
        batch_norm: HeadNorm = "per_view"
        part: str = "all"

        def __post_init__(self) -> None:
            check_temperature("temperature", self.temperature)
            check_momentum(self.momentum)
            if self.predictor[-1] != self.projector[-1]:
                width = self.projector[-1]
                raise ValueError(
                    f"predictor must end with the projector's width {width}, got {self.predictor}"
                )

        def build(self, encoder: Encoder, spaces: Spaces) -> MoCoV3:
            return MoCoV3(self, encoder)

        def reads(self) -> tuple[str, ...]:
            return self.views

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        norm = config.output_norm
        # No bias in the original's last layers, with or without a norm after them.
        self.projector = MLP((encoder.width(config.part), *config.projector), norm, output_bias=False)
        self.predictor = MLP((config.projector[-1], *config.predictor), norm, output_bias=False)
        self.teacher = Teacher(encoder, self.projector, config.part, config.batch_norm, config.copy_buffers)

    def forward(self, views: Views, encoded: Encodings) -> Outcome:
        c = self.config
        z = project(self.projector, [encoded[v].part(c.part) for v in c.views], c.batch_norm)
        p = project(self.predictor, z, c.batch_norm)
        keys = self.teacher([views[v].images for v in c.views])
        both = info_nce(p[0], keys[1], c.temperature) + info_nce(p[1], keys[0], c.temperature)
        return Outcome({"contrast": 2 * c.temperature * both}, dict(zip(c.views, z, strict=True)))

    def after_step(self, encoder: Encoder, progress: float) -> None:
        c = self.config
        momentum = ema_momentum(c.momentum, progress, c.momentum_schedule)
        self.teacher.update_ema(encoder, self.projector, momentum)
