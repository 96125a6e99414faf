"""MoCo v3 (Chen et al., 2021): InfoNCE between predictions and a momentum encoder's keys of the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from equissl.config.validation import check_bounds, check_predictor
from equissl.encoder.encoder import Encoder
from equissl.losses.contrastive import info_nce
from equissl.nn.ema import MomentumSchedule, Teacher, ema_momentum
from equissl.nn.heads import MLP, HeadNorm, OutputNorm, apply_head
from equissl.objective import Base, BaseOutput, Encodings, Spaces, TwoViewConfig, Views


class MoCoV3(Base):
    """MoCo v3 (Chen et al., 2021): InfoNCE between predictions and a momentum encoder's keys of the batch.

    arXiv:2104.02057, eq. 1 and algorithm 1: 2 * temperature times the sum of both symmetric terms.
    Embeddings: the projections, (B, projector[-1]).
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
    class Config(TwoViewConfig):
        """
        Args:
            projector, predictor: hidden and output widths; the last ones must agree. For transformers the
                original has a three-layer projector ``(4096, 4096, 256)``.
            output_norm: BatchNorm after the last layer of both ("fixed": the original's).
            temperature: above 0 (original: 1 for ResNet-50, 0.2 for transformers).
            momentum: EMA coefficient of the key encoder at the first step, in [0, 1] (original: 0.99, 0.996
                for 1000 epochs).
            momentum_schedule: "cosine" up to 1 (the original's runs), or "constant".
            copy_buffers: copy the BatchNorm statistics to the key encoder (the original does not).
            batch_norm: whether BatchNorm in heads and key encoder sees both views at once or one after the
                other.
        """

        projector: tuple[int, ...] = (4096, 256)
        predictor: tuple[int, ...] = (4096, 256)
        output_norm: OutputNorm = "fixed"
        temperature: float = 1.0
        momentum: float = 0.99
        momentum_schedule: MomentumSchedule = "cosine"
        copy_buffers: bool = False
        batch_norm: HeadNorm = "per_view"

        def __post_init__(self) -> None:
            super().__post_init__()
            check_predictor(self)
            check_bounds(self, "temperature", above=0)
            check_bounds(self, "momentum", low=0, high=1)

        def build(self, encoder: Encoder, spaces: Spaces) -> MoCoV3:
            return MoCoV3(self, encoder)

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        norm = config.output_norm
        # No bias in the original's last layers, with or without a norm after them.
        self.projector = MLP((encoder.width(config.part), *config.projector), norm, output_bias=False)
        self.predictor = MLP((config.projector[-1], *config.predictor), norm, output_bias=False)
        self.teacher = Teacher(encoder, self.projector, config.part, config.batch_norm, config.copy_buffers)

    def forward(self, views: Views, encoded: Encodings) -> BaseOutput:
        c = self.config
        z = apply_head(self.projector, [encoded[v].part(c.part) for v in c.views], c.batch_norm)
        p = apply_head(self.predictor, z, c.batch_norm)
        keys = self.teacher([views[v].images for v in c.views])
        loss = info_nce(p[0], keys[1], c.temperature) + info_nce(p[1], keys[0], c.temperature)
        return BaseOutput({"contrast": 2 * c.temperature * loss}, dict(zip(c.views, z, strict=True)))

    def after_step(self, encoder: Encoder, progress: float) -> None:
        c = self.config
        momentum = ema_momentum(c.momentum, progress, c.momentum_schedule)
        self.teacher.update_ema(encoder, self.projector, momentum)
