"""DINOv2: DINO, iBOT with a head of its own, balanced assignments, and features that spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from equissl.encoder.encoder import Encoder
from equissl.invariance._self_distillation import Assigning, Distillation, check_masks, stacked_masks
from equissl.losses.regularization import koleo
from equissl.objective import Base, Encodings, Outcome, Spaces, Views


class DINOv2(Base):
    """DINO + iBOT + KoLeo (arXiv:2304.07193, section 4).

    What the student and the teacher see is as in iBOT: ``views`` need an ``augment.PatchMask`` and the
    encoder ``mask_token=true``. KoLeo is taken of the student's features of each large crop, before any head,
    and added over crops. Publishes the normalised bottlenecks as embeddings.
    """

    paper: ClassVar[str] = "arXiv:2304.07193"
    bibtex: ClassVar[str] = r"""
    @article{dinov22024,
      title = {{DINOv2: Learning Robust Visual Features without Supervision}},
      author = {Oquab, Maxime and Darcet, Timoth{\'e}e and Moutakanni, Th{\'e}o and Vo, Huy and Szafraniec,
        Marc and Khalidov, Vasil and Fernandez, Pierre and Haziza, Daniel and Massa, Francisco and El-Nouby,
        Alaaeldin and Assran, Mahmoud and Ballas, Nicolas and Galuba, Wojciech and Howes, Russell and Huang,
        Po-Yao and Li, Shang-Wen and Misra, Ishan and Rabbat, Michael and Sharma, Vasu and Synnaeve, Gabriel
        and Xu, Hu and J{\'e}gou, Herv{\'e} and Mairal, Julien and Labatut, Patrick and Joulin, Armand and
        Bojanowski, Piotr},
      journal = {Transactions on Machine Learning Research},
      year = {2024},
      eprint = {2304.07193},
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
            image_weight, patch_weight, spread_weight: of the terms, at least 0 (1, 1 and 0.1).
            part: which columns of the features are read.
        """

        views: tuple[str, ...] = ("a", "b")
        local: tuple[str, ...] = ()
        assigning: Assigning = Assigning(prototypes=65536, separate=True, balance="sinkhorn", momentum=0.992)
        image_weight: float = 1.0
        patch_weight: float = 1.0
        spread_weight: float = 0.1
        part: str = "all"

        def __post_init__(self) -> None:
            crops = (*self.views, *self.local)
            if not self.views or len(crops) < 2 or len(set(crops)) < len(crops):
                raise ValueError(f"views and local must name at least two different crops, got {crops}")
            for name in ("image_weight", "patch_weight", "spread_weight"):
                if not getattr(self, name) >= 0:
                    raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")

        def build(self, encoder: Encoder, spaces: Spaces) -> DINOv2:
            check_masks(encoder, spaces, self.views)
            return DINOv2(self, encoder)

        def reads(self) -> tuple[str, ...]:
            return (*self.views, *self.local)

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        self.distillation = Distillation(config.assigning, encoder, config.part)

    def forward(self, views: Views, encoded: Encodings) -> Outcome:
        c = self.config
        large = [encoded[v] for v in c.views]
        found = self.distillation(
            large,
            [encoded[v] for v in c.local],
            [views[v].images for v in c.views],
            stacked_masks(views, c.views),
        )
        losses = {"assignment": c.image_weight * found.images, "patches": c.patch_weight * found.patches}
        if c.spread_weight:
            losses["spread"] = c.spread_weight * torch.stack([koleo(e.part(c.part)) for e in large]).sum()
        return Outcome(losses, dict(zip(c.reads(), found.embeddings, strict=True)))

    def after_step(self, encoder: Encoder, progress: float) -> None:
        self.distillation.after_step(encoder, progress)
