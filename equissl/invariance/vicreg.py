"""VICReg (Bardes et al., 2022): invariance, variance and covariance terms on two views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from equissl.config.validation import check_bounds, check_widths
from equissl.encoder.encoder import Encoder
from equissl.losses.precision import full_precision, to_float32
from equissl.losses.regularization import covariance_loss, variance_loss
from equissl.nn.heads import MLP, HeadNorm, apply_head
from equissl.objective import Base, BaseOutput, Encodings, Spaces, TwoViewConfig, Views


class VICReg(Base):
    """VICReg (Bardes et al., 2022): invariance, variance and covariance terms on two views.

    arXiv:2105.04906, eq. 6. Embeddings: the projections, (B, projector[-1]).
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
    class Config(TwoViewConfig):
        """
        Args:
            projector: hidden and output widths of the "expander"; its last layer has no bias.
            invariance, variance, covariance: weights of the terms, at least 0 (SIE's baseline: 10, 10, 1).
            batch_norm: whether the head's BatchNorm sees both views at once or one after the other (the
                paper's code).
        """

        projector: tuple[int, ...] = (8192, 8192, 8192)
        invariance: float = 25.0
        variance: float = 25.0
        covariance: float = 1.0
        batch_norm: HeadNorm = "per_view"

        def __post_init__(self) -> None:
            super().__post_init__()
            check_widths(self, "projector")
            check_bounds(self, "invariance", "variance", "covariance", low=0)

        def build(self, encoder: Encoder, spaces: Spaces) -> VICReg:
            return VICReg(self, encoder)

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        self.projector = MLP((encoder.width(config.part), *config.projector), output_bias=False)

    def forward(self, views: Views, encoded: Encodings) -> BaseOutput:
        c = self.config
        a, b = apply_head(self.projector, [encoded[v].part(c.part) for v in c.views], c.batch_norm)
        terms = vicreg_terms(a, b)
        weights = {"invariance": c.invariance, "variance": c.variance, "covariance": c.covariance}
        losses = {name: weights[name] * term for name, term in terms.items()}
        return BaseOutput(losses, dict(zip(c.views, (a, b), strict=True)))


def vicreg_terms(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Mean squared error, mean variance loss and summed covariance loss: (n, d), (n, d) -> () each.

    >>> import torch
    >>> x = torch.zeros(4, 2)
    >>> {name: round(float(term), 2) for name, term in vicreg_terms(x, x + 1).items()}
    {'invariance': 1.0, 'variance': 0.99, 'covariance': 0.0}
    """
    with full_precision(a):
        invariance = F.mse_loss(to_float32(a), to_float32(b))
    return {
        "invariance": invariance,
        "variance": (variance_loss(a) + variance_loss(b)) / 2,
        "covariance": covariance_loss(a) + covariance_loss(b),
    }
