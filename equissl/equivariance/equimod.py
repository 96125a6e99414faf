"""EquiMod (Devillers & Lefort, 2023): contrastive prediction of the augmented image's embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from equissl.augment.equimod_params import Count, constants_on, equimod_vector
from equissl.config.validation import MAX_WIDTH, Checked, check_bounds, check_unique, check_widths
from equissl.encoder.encoder import Encoder
from equissl.equivariance._predictive import PredictiveEquivariance
from equissl.losses.contrastive import nt_xent, nt_xent_without_sibling
from equissl.nn.heads import MLP, HeadNorm, OutputNorm, apply_head
from equissl.nn.predictors import Affine, AnyPredictor
from equissl.objective import Encodings, EquivarianceConfig, Spaces, Views
from equissl.params import Params, Space, between, concatenate, union


@dataclass(frozen=True)
class NamedLayout(Checked):
    """Every factor as its kind encodes it, scaled in closed form by the policy."""

    def encode(self, change: Params) -> Tensor:
        """(B, k)."""
        return change.encode()


@dataclass(frozen=True)
class LegacyLayout(Checked):
    """The original's anonymous vector, standardised; needs plain images as sources.

    Args:
        count: 15, 17 or 18 numbers.
        source: (H, W) of the source images in pixels.
        mean, std: per number; ``augment.equimod_params.equimod_statistics`` computes them from the policy.
    """

    count: Count
    source: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.mean) == len(self.std) == self.count:
            raise ValueError(f"mean and std must hold {self.count} numbers each")
        check_bounds(self, "source", low=1, high=MAX_WIDTH)
        check_bounds(self, "std", above=0)

    def encode(self, change: Params) -> Tensor:
        # The source is a plain image, so the view's values are the change added to the neutral ones.
        values = dict(change.values)
        for name in ("crop_height", "crop_width", "brightness", "contrast", "saturation"):
            if name in values:
                values[name] = values[name] + 1
        absolute = Params(change.space, values, change.applied, change.count)
        vector = equimod_vector(absolute, self.source[0], self.source[1], self.count)
        return (vector - constants_on(self.mean, vector.device)) / constants_on(self.std, vector.device)


class EquiMod(PredictiveEquivariance):
    """EquiMod (Devillers & Lefort, 2023): contrastive prediction of the augmented image's embedding.

    The predictor reads the plain image's embedding and the augmentation's parameters (arXiv:2211.01244,
    section 3, and its code). The data flow is plain image -> view; nothing is
    detached. With the affine predictor the parameters shift the embedding by an amount that does not depend
    on the image; the residual predictor (arXiv:2510.27222) lets it.
    """

    paper: ClassVar[str] = "arXiv:2211.01244"
    bibtex: ClassVar[str] = r"""
    @inproceedings{equimod2023,
      title = {{EquiMod: An Equivariance Module to Improve Visual Instance Discrimination}},
      author = {Devillers, Alexandre and Lefort, Mathieu},
      booktitle = {International Conference on Learning Representations},
      year = {2023},
      eprint = {2211.01244},
      archivePrefix = {arXiv},
    }
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(EquivarianceConfig):
        """
        Args:
            pairs: (source, target) views; the paper's are the plain image and each augmented view.
            factors: whose change is read; empty for all that the views record.
            projector: hidden and output widths of the equivariance head (last norm without weights).
            output_norm: BatchNorm after the projector's last layer.
            batch_norm: whether the projector's BatchNorm sees all views at once or one after the other (SIE's
                baseline).
            predictor: ``Affine()`` (the paper's), ``ResidualMLP()``, or SIE's ``Hypernetwork()`` and
                ``ConcatenatedMLP()``, which read the encoded change without embedding it.
            loss: "released_code": NT-Xent in which the sibling view is a negative; "paper": sibling
                excluded, positive not in the denominator; "paper_positive_counts": the latter with it.
            temperature: of the contrast, above 0.
            layout: how parameters become numbers.
            part: which columns of the features are read.
        """

        pairs: tuple[tuple[str, str], ...] = (("plain", "a"), ("plain", "b"))
        factors: tuple[str, ...] = ()
        projector: tuple[int, ...] = (2048, 2048, 128)
        output_norm: OutputNorm = "fixed"
        batch_norm: HeadNorm = "all_views"
        predictor: AnyPredictor = Affine()
        loss: Literal["released_code", "paper", "paper_positive_counts"] = "released_code"
        temperature: float = 0.2
        layout: NamedLayout | LegacyLayout = NamedLayout()
        part: str = "all"

        def __post_init__(self) -> None:
            check_bounds(self, "temperature", above=0)
            check_widths(self, "projector")
            check_unique(self, "pairs")
            for pair in self.pairs:
                if pair[0] == pair[1]:
                    raise ValueError(f"pairs must be of two different views, got {pair}")
            if self.loss != "released_code" and len(self.pairs) != 2:
                raise ValueError(f"loss={self.loss!r} is defined for two pairs, got {len(self.pairs)}")

        def build(self, encoder: Encoder, spaces: Spaces) -> EquiMod:
            recorded = union(spaces, self.reads())
            return EquiMod(self, encoder, recorded.select(self.factors or recorded.names))

        def reads(self) -> tuple[str, ...]:
            return tuple(dict.fromkeys(view for pair in self.pairs for view in pair))

    def __init__(self, config: Config, encoder: Encoder, space: Space):
        super().__init__(config.part, space)
        self.config = config
        bias = False if config.output_norm == "none" else None  # as SIE's baselines; a norm needs none either
        self.projector = MLP((encoder.width(config.part), *config.projector), config.output_norm, bias)
        neutral = self.encode(space.relative().neutral(1))[0]
        self.predictor = config.predictor.build(config.projector[-1], neutral)

    def encode(self, change: Params) -> Tensor:
        return self.config.layout.encode(change)

    def forward(
        self, views: Views, encoded: Encodings, embeddings: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        c = self.config
        names = c.reads()
        projected = apply_head(self.projector, [encoded[v].part(c.part) for v in names], c.batch_norm)
        y = dict(zip(names, projected, strict=True))
        changes = [between(views[s].params, views[t].params, self.space) for s, t in c.pairs]
        source, target = (torch.cat([y[pair[end]] for pair in c.pairs]) for end in (0, 1))
        predicted = self.move(source, concatenate(changes))
        if c.loss == "released_code":
            return {"contrast": nt_xent(target, predicted, c.temperature)}
        counts = c.loss == "paper_positive_counts"
        return {
            "contrast": nt_xent_without_sibling(
                target, predicted, c.temperature, positive_in_denominator=counts
            )
        }
