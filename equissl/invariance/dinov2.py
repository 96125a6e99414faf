"""DINOv2 (Oquab et al., 2024): DINO + iBOT with separate heads, Sinkhorn centering and KoLeo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from equissl.config.validation import check_bounds
from equissl.encoder.encoder import Encoder
from equissl.invariance._self_distillation import (
    MaskedDistillation,
    MaskedDistillationConfig,
    SelfDistillationConfig,
    check_masks,
)
from equissl.losses.regularization import koleo
from equissl.objective import BaseOutput, Encodings, Spaces, Views


class DINOv2(MaskedDistillation):
    """DINOv2 (Oquab et al., 2024): DINO + iBOT with separate heads, Sinkhorn centering and KoLeo.

    arXiv:2304.07193, section 4. Masks are as in iBOT: ``views`` need an ``augment.PatchMask``, the encoder
    ``mask_token=true``. KoLeo is of the student's features of each large crop, before any head, summed over
    crops. Embeddings: the normalised bottlenecks.
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
    class Config(MaskedDistillationConfig):
        """
        Args:
            koleo_weight: weight of KoLeo, at least 0 (0.1).
        """

        distillation: SelfDistillationConfig = SelfDistillationConfig(
            num_prototypes=65536, separate_heads=True, centering="sinkhorn", momentum=0.992
        )
        koleo_weight: float = 0.1

        def __post_init__(self) -> None:
            super().__post_init__()
            check_bounds(self, "koleo_weight", low=0)

        def build(self, encoder: Encoder, spaces: Spaces) -> DINOv2:
            check_masks(encoder, spaces, self.views)
            return DINOv2(self, encoder)

    config: Config

    def forward(self, views: Views, encoded: Encodings) -> BaseOutput:
        c, output = self.config, super().forward(views, encoded)
        if c.koleo_weight:
            terms = torch.stack([koleo(encoded[v].part(c.part)) for v in c.views])
            output.losses["koleo"] = c.koleo_weight * terms.sum()
        return output
