"""VICReg: bring views together, keep every column's variance up and the columns uncorrelated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from equissl.encoder.encoder import Encoder
from equissl.losses.precision import full_precision, to_float32
from equissl.losses.regularization import covariance_loss, variance_loss
from equissl.nn.heads import MLP, HeadNorm, project
from equissl.objective import Base, Encodings, Outcome, Spaces, Views


class VICReg(Base):
    """Invariance, variance and covariance terms on two views (arXiv:2105.04906, eq. 6).

    Publishes the projections as embeddings: (B, projector[-1]).
    """

    paper: ClassVar[str] = "arXiv:2105.04906"
    bibtex: ClassVar[str] = r"""
    @inproceedings{vicreg2022,
      title = {{VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning}},
      author = {Bardes, Adrien and Ponce, Jean and LeCun, Yann},
      booktitle = {International Conference on Learning Representations},
      year = {2022},
      eprint = {2105.04906},
      archivePrefix = {arXiv},
    }
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """
        Args:
            projector: hidden and output widths of the "expander"; its last layer has no bias.
            invariance, variance, covariance: weights of the terms, at least 0 (SIE's baseline: 10, 10, 1).
            batch_norm: whether the head's BatchNorm sees both views at once or one by one (the paper's code).
            part: which columns of the features are read.
        """

        views: tuple[str, str] = ("a", "b")
        projector: tuple[int, ...] = (8192, 8192, 8192)
        invariance: float = 25.0
        variance: float = 25.0
        covariance: float = 1.0
        batch_norm: HeadNorm = "per_view"
        part: str = "all"

        def __post_init__(self) -> None:
            for name in ("invariance", "variance", "covariance"):
                if not getattr(self, name) >= 0:
                    raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")

        def build(self, encoder: Encoder, spaces: Spaces) -> VICReg:
            return VICReg(self, encoder)

        def reads(self) -> tuple[str, ...]:
            return self.views

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        self.projector = MLP((encoder.width(config.part), *config.projector), output_bias=False)

    def forward(self, views: Views, encoded: Encodings) -> Outcome:
        c = self.config
        a, b = project(self.projector, [encoded[v].part(c.part) for v in c.views], c.batch_norm)
        terms = vicreg_terms(a, b)
        weights = {"invariance": c.invariance, "variance": c.variance, "covariance": c.covariance}
        losses = {name: weights[name] * term for name, term in terms.items()}
        return Outcome(losses, dict(zip(c.views, (a, b), strict=True)))


def vicreg_terms(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Mean squared difference, half the sum of the hinges, sum of the covariance penalties: (n, d) -> ()."""
    with full_precision(a):
        invariance = F.mse_loss(to_float32(a), to_float32(b))
    return {
        "invariance": invariance,
        "variance": (variance_loss(a) + variance_loss(b)) / 2,
        "covariance": covariance_loss(a) + covariance_loss(b),
    }
