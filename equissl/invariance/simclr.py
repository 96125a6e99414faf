"""SimCLR (Chen et al., 2020): NT-Xent between the projections of two views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from equissl.config.validation import check_bounds, check_widths
from equissl.encoder.encoder import Encoder
from equissl.losses.contrastive import Negatives, nt_xent
from equissl.nn.heads import MLP, HeadNorm, OutputNorm, apply_head
from equissl.objective import Base, BaseOutput, Encodings, Spaces, TwoViewConfig, Views


class SimCLR(Base):
    """SimCLR (Chen et al., 2020): NT-Xent between the projections of two views.

    arXiv:2002.05709, eq. 1. Embeddings: the projections, (B, projector[-1]).
    """

    paper: ClassVar[str] = "arXiv:2002.05709"
    bibtex: ClassVar[str] = r"""
    @inproceedings{simclr2020,
      title = {{A Simple Framework for Contrastive Learning of Visual Representations}},
      author = {Chen, Ting and Kornblith, Simon and Norouzi, Mohammad and Hinton, Geoffrey},
      booktitle = {International Conference on Machine Learning},
      year = {2020},
      eprint = {2002.05709},
      archivePrefix = {arXiv},
    }
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(TwoViewConfig):
        """
        Args:
            projector: hidden and output widths of the projection head.
            output_norm: BatchNorm after the projector's last layer ("fixed": as EquiMod's SimCLR).
            output_bias: whether the projector's last layer has a bias where no BatchNorm follows it; SIE's
                baseline has none.
            batch_norm: whether the projector's BatchNorm sees both views at once or one after the other
                (E-SSL, SIE's baseline, AugSelf).
            temperature: above 0.
            negatives: "all" (2N - 2, SimCLR) or "other_view" (N - 1, E-SSL's code).
        """

        projector: tuple[int, ...] = (2048, 2048, 128)
        output_norm: OutputNorm = "fixed"
        output_bias: bool = True
        batch_norm: HeadNorm = "all_views"
        temperature: float = 0.5
        negatives: Negatives = "all"

        def __post_init__(self) -> None:
            super().__post_init__()
            check_widths(self, "projector")
            check_bounds(self, "temperature", above=0)

        def build(self, encoder: Encoder, spaces: Spaces) -> SimCLR:
            return SimCLR(self, encoder)

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        bias = config.output_bias and config.output_norm == "none"
        self.projector = MLP((encoder.width(config.part), *config.projector), config.output_norm, bias)

    def forward(self, views: Views, encoded: Encodings) -> BaseOutput:
        c = self.config
        features = [encoded[v].part(c.part) for v in c.views]
        a, b = apply_head(self.projector, features, c.batch_norm)
        loss = nt_xent(a, b, c.temperature, c.negatives)
        return BaseOutput({"contrast": loss}, dict(zip(c.views, (a, b), strict=True)))
