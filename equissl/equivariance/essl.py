"""E-SSL (Dangovski et al., 2022): predict the transformation of a view from its features."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from equissl.config.validation import check_unique, check_widths
from equissl.encoder.encoder import Encoder
from equissl.equivariance._parameter_targets import AnyParameterTarget, FactorClassification
from equissl.losses.precision import to_float32
from equissl.nn.heads import LayerNormMLP
from equissl.objective import Encodings, Equivariance, EquivarianceConfig, Spaces, Views
from equissl.params import Params, Space, concatenate, union


class ESSL(Equivariance):
    """E-SSL (Dangovski et al., 2022): predict the transformation of a view from its features.

    The view is meant to be an extra, small one: a crop with the base's augmentations, under every element of
    a group (``ViewSpec(orbit=...)``) or a random one (``RandomElement``). The views that the base compares
    do not have the transformation. One head reads features, not projections (arXiv:2111.00899, section 3).
    """

    title: ClassVar[str] = "E-SSL"
    paper: ClassVar[str] = "arXiv:2111.00899"
    bibtex: ClassVar[str] = r"""
    @inproceedings{essl2022,
      title = {{Equivariant Self-Supervised Learning: Encouraging Equivariance in Representations}},
      author = {Dangovski, Rumen and Jing, Li and Loh, Charlotte and Han, Seungwook and Srivastava, Akash
        and Cheung, Brian and Agrawal, Pulkit and Solja{\v{c}}i{\'c}, Marin},
      booktitle = {International Conference on Learning Representations},
      year = {2022},
      eprint = {2111.00899},
      archivePrefix = {arXiv},
    }
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(EquivarianceConfig):
        """
        Args:
            view: the transformed view.
            source: a view of the same crops without the transformation (``draw=SameAs(...)``); its features
                stand before the view's, and the *change* between the two is predicted. Needed where the data
                already hold images in all states, so that an absolute one is undecidable (appendix H).
                Empty: the transformation of the view itself is predicted.
            targets: name of a loss term -> what is predicted.
            hidden: widths of the head's hidden layers.
            last_relu: whether the last hidden layer has a ReLU; see ``docs/methods/essl.md``.
            part: which columns of the features are read.

        Raises:
            ValueError: no target, or one that compares two views without a ``source``.
        """

        view: str = "small"
        source: str = ""
        targets: Mapping[str, AnyParameterTarget] = field(
            default_factory=lambda: {"rotation": FactorClassification(("quarter_turns",))}
        )
        hidden: tuple[int, ...] = (2048, 2048)
        last_relu: bool = True
        part: str = "all"

        def __post_init__(self) -> None:
            check_unique(self, "targets")
            check_widths(self, "hidden", least=0)
            if self.view in ("", self.source):
                raise ValueError(f"view must name another view than source, got {self.view!r}")
            for name, target in self.targets.items():
                if target.needs_pair and not self.source:
                    kind = type(target).__name__
                    raise ValueError(f"targets.{name}: {kind} compares two views; name the first as source")

        def unlearnable(self, constant: Collection[str]) -> dict[str, tuple[str, ...]]:
            found = {name: target.unlearnable(constant) for name, target in self.targets.items()}
            return {name: factors for name, factors in found.items() if factors}

        def build(self, encoder: Encoder, spaces: Spaces) -> ESSL:
            return ESSL(self, encoder, union(spaces, self.reads()))

        def reads(self) -> tuple[str, ...]:
            return (self.source, self.view) if self.source else (self.view,)

    def __init__(self, config: Config, encoder: Encoder, space: Space):
        super().__init__()
        self.config = config
        self.sizes = [t.output_size(space) for t in config.targets.values()]
        width = encoder.width(config.part) * len(config.reads())
        self.head: nn.Module = LayerNormMLP((width, *config.hidden, sum(self.sizes)), config.last_relu)

    def forward(
        self, views: Views, encoded: Encodings, embeddings: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        predictions, source, target = self.predictions(views, encoded)
        return {
            name: kind.weight * kind.loss(prediction, source, target)
            for (name, kind), prediction in zip(self.config.targets.items(), predictions, strict=True)
        }

    def scores(self, views: Views, encoded: Encodings) -> dict[str, float]:
        """NAME_accuracy beside NAME_chance for every target that is a classification."""
        predictions, source, target = self.predictions(views, encoded)
        row: dict[str, float] = {}
        for (name, kind), prediction in zip(self.config.targets.items(), predictions, strict=True):
            if isinstance(kind, FactorClassification):
                row[f"{name}_accuracy"], row[f"{name}_chance"] = kind.accuracy(prediction, source, target)
        return row

    def predictions(self, views: Views, encoded: Encodings) -> tuple[tuple[Tensor, ...], Params, Params]:
        """Predictions (B, output_size) of each target, and the records of the two views."""
        c = self.config
        features = encoded[c.view].part(c.part)
        source = Params.of(Space(), {}, count=len(features))
        if c.source:
            before = encoded[c.source].part(c.part)
            repeats = len(features) // len(before)  # the view may be an orbit of the source
            source = concatenate([views[c.source].params] * repeats)
            features = torch.cat([before.repeat(repeats, 1), features], 1)
        return torch.split(to_float32(self.head(features)), self.sizes, 1), source, views[c.view].params
