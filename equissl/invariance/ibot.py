"""iBOT: assign crops and masked patches to prototypes as a slow teacher does, which sees everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from equissl.encoder.encoder import Encoder
from equissl.invariance._self_distillation import Assigning, Distillation, check_masks, stacked_masks
from equissl.objective import Base, Encodings, Outcome, Spaces, Views


class IBOT(Base):
    """Masked patch prediction beside DINO (arXiv:2111.07832, eq. 1-3).

    The student sees ``views`` with masked patches (``augment.PatchMask`` at the end of their policies,
    ``encoder.mask_token=true``) and ``local`` whole; the teacher sees ``views`` whole. Publishes the
    normalised bottlenecks as embeddings: (B, assigning.projector[-1]).
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
    class Config:
        """
        Args:
            views: the large crops, of one size.
            local: the small crops, if any.
            assigning: heads, teacher, temperatures.
            image_weight, patch_weight: of the two terms, at least 0 (1 and 1).
            part: which columns of the features are read.
        """

        views: tuple[str, ...] = ("a", "b")
        local: tuple[str, ...] = ()
        assigning: Assigning = Assigning()
        image_weight: float = 1.0
        patch_weight: float = 1.0
        part: str = "all"

        def __post_init__(self) -> None:
            crops = (*self.views, *self.local)
            if not self.views or len(crops) < 2 or len(set(crops)) < len(crops):
                raise ValueError(f"views and local must name at least two different crops, got {crops}")
            for name in ("image_weight", "patch_weight"):
                if not getattr(self, name) >= 0:
                    raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")

        def build(self, encoder: Encoder, spaces: Spaces) -> IBOT:
            check_masks(encoder, spaces, self.views)
            return IBOT(self, encoder)

        def reads(self) -> tuple[str, ...]:
            return (*self.views, *self.local)

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        self.distillation = Distillation(config.assigning, encoder, config.part)

    def forward(self, views: Views, encoded: Encodings) -> Outcome:
        c = self.config
        found = self.distillation(
            [encoded[v] for v in c.views],
            [encoded[v] for v in c.local],
            [views[v].images for v in c.views],
            stacked_masks(views, c.views),
        )
        losses = {"assignment": c.image_weight * found.images, "patches": c.patch_weight * found.patches}
        return Outcome(losses, dict(zip(c.reads(), found.embeddings, strict=True)))

    def after_step(self, encoder: Encoder, progress: float) -> None:
        self.distillation.after_step(encoder, progress)
