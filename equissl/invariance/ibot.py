"""iBOT (Zhou et al., 2022): DINO and the same loss on masked patches, with an EMA teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from equissl.config.validation import check_bounds
from equissl.encoder.encoder import Encoder
from equissl.invariance._self_distillation import (
    SelfDistillation,
    SelfDistillationConfig,
    check_masks,
    stacked_masks,
)
from equissl.objective import Base, BaseOutput, Encodings, MultiCropConfig, Spaces, Views


class IBOT(Base):
    """iBOT (Zhou et al., 2022): DINO and the same loss on masked patches, with an EMA teacher.

    arXiv:2111.07832, eq. 1-3. The student encodes ``views`` with masked patches (``augment.PatchMask`` at
    the end of their policies, ``encoder.mask_token=true``) and ``local`` unmasked; the teacher encodes
    ``views`` unmasked. Embeddings: the normalised bottlenecks, (B, distillation.projector[-1]).
    """

    title: ClassVar[str] = "iBOT"
    paper: ClassVar[str] = "arXiv:2111.07832"
    bibtex: ClassVar[str] = r"""
    @inproceedings{ibot2022,
      title = {{iBOT: Image BERT Pre-Training with Online Tokenizer}},
      author = {Zhou, Jinghao and Wei, Chen and Wang, Huiyu and Shen, Wei and Xie, Cihang and Yuille, Alan
        and Kong, Tao},
      booktitle = {International Conference on Learning Representations},
      year = {2022},
      eprint = {2111.07832},
      archivePrefix = {arXiv},
    }
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(MultiCropConfig):
        """
        Args:
            distillation: heads, teacher, temperatures, centering.
            image_weight, patch_weight: weights of the two terms, at least 0 (1 and 1).
        """

        distillation: SelfDistillationConfig = SelfDistillationConfig()
        image_weight: float = 1.0
        patch_weight: float = 1.0

        def __post_init__(self) -> None:
            super().__post_init__()
            check_bounds(self, "image_weight", "patch_weight", low=0)

        def build(self, encoder: Encoder, spaces: Spaces) -> IBOT:
            check_masks(encoder, spaces, self.views)
            return IBOT(self, encoder)

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        self.distillation = SelfDistillation(config.distillation, encoder, config.part)

    def forward(self, views: Views, encoded: Encodings) -> BaseOutput:
        c = self.config
        output = self.distillation(
            [encoded[v] for v in c.views],
            [encoded[v] for v in c.local],
            [views[v].images for v in c.views],
            stacked_masks(views, c.views),
        )
        losses = {"assignment": c.image_weight * output.images, "patches": c.patch_weight * output.patches}
        return BaseOutput(losses, dict(zip(c.reads(), output.embeddings, strict=True)))

    def after_step(self, encoder: Encoder, progress: float) -> None:
        self.distillation.after_step(encoder, progress)
