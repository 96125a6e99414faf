"""Barlow Twins: make the correlation between the two views' columns the identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.distributed import mean
from equissl.encoder.encoder import Encoder
from equissl.losses.precision import full_precision, to_float32
from equissl.nn.heads import MLP, HeadNorm, project
from equissl.objective import Base, Encodings, Outcome, Spaces, Views

_EPSILON = 1e-5  # of the BatchNorm that standardises in the original


class BarlowTwins(Base):
    """Make the cross-correlation of two views the identity (arXiv:2103.03230, eq. 1-2).

    Publishes the projections as embeddings: (B, projector[-1]).
    """

    title: ClassVar[str] = "Barlow Twins"
    paper: ClassVar[str] = "arXiv:2103.03230"
    bibtex: ClassVar[str] = r"""
    @inproceedings{barlowtwins2021,
      title = {{Barlow Twins: Self-Supervised Learning via Redundancy Reduction}},
      author = {Zbontar, Jure and Jing, Li and Misra, Ishan and LeCun, Yann and Deny, St{\'e}phane},
      booktitle = {International Conference on Machine Learning},
      year = {2021},
      eprint = {2103.03230},
      archivePrefix = {arXiv},
    }
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """
        Args:
            projector: hidden and output widths; no layer has a bias.
            off_diagonal: weight of the redundancy term, at least 0 (0.005 in the paper, 0.0051 in its code).
            scale: of the whole loss, above 0; some later code multiplies by 0.1 or 0.024.
            batch_norm: whether the head's BatchNorm sees both views at once or one by one (the paper's code).
            part: which columns of the features are read.
        """

        views: tuple[str, str] = ("a", "b")
        projector: tuple[int, ...] = (8192, 8192, 8192)
        off_diagonal: float = 0.0051
        scale: float = 1.0
        batch_norm: HeadNorm = "per_view"
        part: str = "all"

        def __post_init__(self) -> None:
            if not self.off_diagonal >= 0:
                raise ValueError(f"off_diagonal must be at least 0, got {self.off_diagonal}")
            if not self.scale > 0:
                raise ValueError(f"scale must be above 0, got {self.scale}")

        def build(self, encoder: Encoder, spaces: Spaces) -> BarlowTwins:
            return BarlowTwins(self, encoder)

        def reads(self) -> tuple[str, ...]:
            return self.views

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        self.projector = MLP((encoder.width(config.part), *config.projector), output_bias=False)

    def forward(self, views: Views, encoded: Encodings) -> Outcome:
        c = self.config
        a, b = project(self.projector, [encoded[v].part(c.part) for v in c.views], c.batch_norm)
        terms = barlow_twins_terms(a, b)
        weights = {"diagonal": c.scale, "off_diagonal": c.scale * c.off_diagonal}
        losses = {name: weights[name] * term for name, term in terms.items()}
        return Outcome(losses, dict(zip(c.views, (a, b), strict=True)))


def barlow_twins_terms(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Squared distance of the correlations' diagonal from 1 and of the rest from 0: (n, d), (n, d) -> ().

    Correlations are over the rows of all processes; columns are standardised by their biased variance + 1e-5.
    """
    with full_precision(a):
        a, b = _standardised(to_float32(a)), _standardised(to_float32(b))
        correlation = mean(a.T @ b / len(a))
        diagonal = correlation.diagonal()
        rest = correlation.square().sum() - diagonal.square().sum()
        return {"diagonal": (1 - diagonal).square().sum(), "off_diagonal": rest}


def _standardised(x: Tensor) -> Tensor:
    centred = x - mean(x.mean(0))
    variance = mean(centred.square().mean(0))
    result: Tensor = centred * (variance + _EPSILON).rsqrt()
    return result
