"""iBOT (Zhou et al., 2022): DINO and the same loss on masked patches, with an EMA teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from equissl.encoder.encoder import Encoder
from equissl.invariance._self_distillation import MaskedDistillation, MaskedDistillationConfig, check_masks
from equissl.objective import BaseOutput, Encodings, Spaces, Views


class IBOT(MaskedDistillation):
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
    class Config(MaskedDistillationConfig):
        """As ``MaskedDistillationConfig``."""

        def build(self, encoder: Encoder, spaces: Spaces) -> IBOT:
            check_masks(encoder, spaces, self.views)
            return IBOT(self, encoder)

    def forward(self, views: Views, encoded: Encodings) -> BaseOutput:
        return super().forward(views, encoded)
