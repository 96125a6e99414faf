"""SIE (Garrido et al., 2023): split invariant and equivariant features with a hypernetwork predictor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.config.validation import check_bounds, check_widths
from equissl.encoder.encoder import Encoder
from equissl.equivariance._predictive import PredictiveEquivariance
from equissl.losses.precision import full_precision, to_float32
from equissl.losses.regularization import covariance_loss, variance_loss
from equissl.nn.heads import MLP, HeadNorm, apply_head
from equissl.nn.predictors import AnyPredictor, Hypernetwork
from equissl.objective import Encodings, PairConfig, Spaces, Views
from equissl.params import Space, between, union


class SIE(PredictiveEquivariance):
    """SIE (Garrido et al., 2023): split invariant and equivariant features with a hypernetwork predictor.

    This objective is the equivariant half and the variance and covariance of both halves (arXiv:2302.10283,
    section 4 and code).

    The invariant half is a base objective on the other part: ``VICReg`` there with invariance 10, variance 0
    and covariance 0 gives the paper's loss, since variance and covariance are taken here, on both embeddings
    side by side. Only the first image predicts the second; gradients reach both through every term.

    Terms, x and y the two views, e = [the base's embedding | the equivariant one]:
    equivariance * mse(p(e_x, z), e_y) + variance * (hinge(e_x) + hinge(e_y)) / 2
    + predicted_variance * hinge(p(e_x, z)) / 2 + covariance * (penalty(e_x) + penalty(e_y)).
    """

    paper: ClassVar[str] = "arXiv:2302.10283"
    bibtex: ClassVar[str] = r"""
    @inproceedings{sie2023,
      title = {{Self-Supervised Learning of Split Invariant Equivariant Representations}},
      author = {Garrido, Quentin and Najman, Laurent and LeCun, Yann},
      booktitle = {International Conference on Machine Learning},
      year = {2023},
      eprint = {2302.10283},
      archivePrefix = {arXiv},
    }
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(PairConfig):
        """
        Args:
            factors: whose change is read; empty for all that the views record.
            projector: hidden and output widths of the equivariant head.
            predictor: how an embedding is moved.
            equivariance, variance, predicted_variance, covariance: absolute weights, at least 0; the
                defaults are the paper's (its released code writes 4.5 as 10 * 0.45).
            statistics: variance and covariance of the embedding "with_base" (side by side, so that the two
                parts share nothing linearly) or of its "own" alone.
            batch_norm: whether the head's BatchNorm sees both views at once or one by one.
            part: which columns of the features are read.
        """

        factors: tuple[str, ...] = ()
        projector: tuple[int, ...] = (1024, 1024, 1024)
        predictor: AnyPredictor = Hypernetwork()
        equivariance: float = 4.5
        variance: float = 10.0
        predicted_variance: float = 10.0
        covariance: float = 1.0
        statistics: Literal["with_base", "own"] = "with_base"
        batch_norm: HeadNorm = "per_view"
        part: str = "equi"

        def __post_init__(self) -> None:
            super().__post_init__()
            check_widths(self, "projector")
            check_bounds(self, "equivariance", "variance", "predicted_variance", "covariance", low=0)
            if not self.equivariance > 0:
                raise ValueError("equivariance must be above 0: without it nothing is predicted")

        def build(self, encoder: Encoder, spaces: Spaces) -> SIE:
            recorded = union(spaces, self.pair)
            return SIE(self, encoder, recorded.select(self.factors or recorded.names))

    def __init__(self, config: Config, encoder: Encoder, space: Space):
        super().__init__(config.part, space)
        self.config = config
        self.projector = MLP((encoder.width(config.part), *config.projector), output_bias=False)
        neutral = self.encode(space.relative().neutral(1))[0]
        self.predictor = config.predictor.build(config.projector[-1], neutral)

    def forward(
        self, views: Views, encoded: Encodings, embeddings: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        c = self.config
        source, target = c.pair
        x, y = apply_head(self.projector, [encoded[v].part(c.part) for v in c.pair], c.batch_norm)
        predicted = self.move(x, between(views[source].params, views[target].params, self.space))
        whole = [x, y]
        if c.statistics == "with_base":
            of_base = [[embeddings[v]] if v in embeddings else [] for v in c.pair]
            whole = [torch.cat([*first, own], 1) for first, own in zip(of_base, whole, strict=True)]
        with full_precision(x):
            losses = {"equivariance": c.equivariance * F.mse_loss(to_float32(predicted), to_float32(y))}
        if c.variance:
            losses["variance"] = c.variance * (variance_loss(whole[0]) + variance_loss(whole[1])) / 2
        if c.predicted_variance:
            losses["predicted_variance"] = c.predicted_variance * variance_loss(predicted) / 2
        if c.covariance:
            losses["covariance"] = c.covariance * (covariance_loss(whole[0]) + covariance_loss(whole[1]))
        return losses
