"""Barlow Twins (Zbontar et al., 2021): cross-correlation matrix of two views close to the identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.config.validation import check_bounds, check_widths
from equissl.distributed import mean
from equissl.encoder.encoder import Encoder
from equissl.losses.precision import full_precision, to_float32
from equissl.nn.heads import MLP, HeadNorm, apply_head
from equissl.objective import Base, BaseOutput, Encodings, Spaces, TwoViewConfig, Views

_EPSILON = 1e-5  # of the BatchNorm that standardises in the original


class BarlowTwins(Base):
    """Barlow Twins (Zbontar et al., 2021): cross-correlation matrix of two views close to the identity.

    arXiv:2103.03230, eq. 1-2. Embeddings: the projections, (B, projector[-1]).
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
    class Config(TwoViewConfig):
        """
        Args:
            projector: hidden and output widths; no layer has a bias.
            off_diagonal: weight of the redundancy term, at least 0 (0.005 in the paper, 0.0051 in its code).
            scale: factor of the whole loss, above 0; some later code has 0.1 or 0.024.
            batch_norm: whether the head's BatchNorm sees both views at once or one after the other (the
                paper's code).
        """

        projector: tuple[int, ...] = (8192, 8192, 8192)
        off_diagonal: float = 0.0051
        scale: float = 1.0
        batch_norm: HeadNorm = "per_view"

        def __post_init__(self) -> None:
            super().__post_init__()
            check_widths(self, "projector")
            check_bounds(self, "off_diagonal", low=0)
            check_bounds(self, "scale", above=0)

        def build(self, encoder: Encoder, spaces: Spaces) -> BarlowTwins:
            return BarlowTwins(self, encoder)

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        self.projector = MLP((encoder.width(config.part), *config.projector), output_bias=False)

    def forward(self, views: Views, encoded: Encodings) -> BaseOutput:
        c = self.config
        a, b = apply_head(self.projector, [encoded[v].part(c.part) for v in c.views], c.batch_norm)
        terms = barlow_twins_terms(a, b)
        weights = {"diagonal": c.scale, "off_diagonal": c.scale * c.off_diagonal}
        losses = {name: weights[name] * term for name, term in terms.items()}
        return BaseOutput(losses, dict(zip(c.views, (a, b), strict=True)))


def barlow_twins_terms(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Sums of squares of (1 - diagonal) and of the off-diagonal correlations: (n, d), (n, d) -> () each.

    Over the rows of all processes; columns are standardised with their biased variance + 1e-5.

    >>> import torch
    >>> x = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    >>> terms = barlow_twins_terms(x, x)
    >>> round(float(terms["diagonal"]), 3), round(float(terms["off_diagonal"]), 3)
    (0.0, 0.0)
    """
    with full_precision(a):
        a, b = _standardise(to_float32(a)), _standardise(to_float32(b))
        correlation = mean(a.T @ b / len(a))
        diagonal = correlation.diagonal()
        rest = correlation.square().sum() - diagonal.square().sum()
        return {"diagonal": (1 - diagonal).square().sum(), "off_diagonal": rest}


def _standardise(x: Tensor) -> Tensor:
    centred = x - mean(x.mean(0))
    variance = mean(centred.square().mean(0))
    result: Tensor = centred * (variance + _EPSILON).rsqrt()
    return result
