"""E-SSL: read off the features of a view how it was transformed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.encoder.encoder import Encoder
from equissl.losses.precision import to_float32
from equissl.nn.heads import LayerNormMLP
from equissl.objective import Encodings, Equivariance, Spaces, Views
from equissl.params import Params, Space, between, concatenate, union

_REGRESSION = {"l1": F.l1_loss, "mse": F.mse_loss}


@dataclass(frozen=True, kw_only=True)
class TransformTarget(ABC):
    """What the head is asked about some factors; ``weight`` is its share in the module's loss."""

    factors: tuple[str, ...]
    weight: float = 1.0

    @abstractmethod
    def width(self, space: Space) -> int:
        """Numbers the head puts out, given the factors.

        Raises:
            ValueError: they cannot be asked for in this way.
        """

    @abstractmethod
    def loss(self, guess: Tensor, transform: Params) -> Tensor:
        """(B, width) and what was done to (B,) images -> ()."""


@dataclass(frozen=True, kw_only=True)
class WhichElement(TransformTarget):
    """Which element of a finite group was applied: cross entropy over the elements, averaged over factors."""

    def width(self, space: Space) -> int:
        return sum(_orders(space))

    def loss(self, guess: Tensor, transform: Params) -> Tensor:
        logits = torch.split(guess, _orders(transform.space), 1)
        losses = [
            F.cross_entropy(given, factor.element(transform.values[factor.name]))
            for factor, given in zip(transform.space, logits, strict=True)
        ]
        return torch.stack(losses).mean()


@dataclass(frozen=True, kw_only=True)
class HowMuch(TransformTarget):
    """How far a continuous transformation went: regression of the factors as their kinds encode them.

    A number is divided by its scale, an angle or a hue is a point on the circle.

    Args:
        error: "l1" (mean absolute error) or "mse" (mean square).
    """

    error: Literal["l1", "mse"] = "l1"

    def __post_init__(self) -> None:
        if self.error not in _REGRESSION:
            raise ValueError(f"error must be one of {tuple(_REGRESSION)}, got {self.error!r}")

    def width(self, space: Space) -> int:
        return space.encoded_size

    def loss(self, guess: Tensor, transform: Params) -> Tensor:
        return _REGRESSION[self.error](guess, transform.encode().to(guess.dtype))


AnyTransformTarget = WhichElement | HowMuch


class ESSL(Equivariance):
    """Read off the features of a view how it was transformed (E-SSL, arXiv:2111.00899, section 3).

    The view is meant to be an extra, small one: a crop with the base's augmentations, of which every element
    of a group is shown (``ViewSpec(orbit=...)``) or one drawn element (``RandomElement``). The views that the
    base compares do not have the transformation. One head reads features, not projections.
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
    class Config:
        """
        Args:
            view: the transformed view.
            source: a view of the same crops without the transformation (``draw=SameAs(...)``); its features
                stand before the view's, and the *change* between the two is predicted. Needed where the data
                already hold images in all states, so that an absolute one is undecidable (appendix H).
                Empty: the transformation of the view itself is predicted.
            targets: name of a term -> what is predicted.
            hidden: widths of the head's hidden layers.
            last_relu: whether the last hidden layer has a ReLU; see ``docs/methods/essl.md``.
            part: which columns of the features are read.
        """

        view: str = "small"
        source: str = ""
        targets: Mapping[str, AnyTransformTarget] = field(
            default_factory=lambda: {"rotation": WhichElement(factors=("quarter_turns",))}
        )
        hidden: tuple[int, ...] = (2048, 2048)
        last_relu: bool = True
        part: str = "all"

        def __post_init__(self) -> None:
            if not self.targets:
                raise ValueError("targets must name at least one thing to predict")

        def build(self, encoder: Encoder, spaces: Spaces) -> ESSL:
            return ESSL(self, encoder, union(spaces, self.reads()))

        def reads(self) -> tuple[str, ...]:
            return (self.source, self.view) if self.source else (self.view,)

    def __init__(self, config: Config, encoder: Encoder, space: Space):
        super().__init__()
        self.config = config
        self.spaces = {name: space.select(t.factors) for name, t in config.targets.items()}
        self.widths = [t.width(self.spaces[n].relative()) for n, t in config.targets.items()]
        wide = encoder.width(config.part) * len(config.reads())
        self.head: nn.Module = LayerNormMLP((wide, *config.hidden, sum(self.widths)), config.last_relu)

    def forward(
        self, views: Views, encoded: Encodings, embeddings: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        c = self.config
        features = encoded[c.view].part(c.part)
        source = Params.of(Space(), {}, count=len(features))
        if c.source:
            before = encoded[c.source].part(c.part)
            times = len(features) // len(before)  # the view may be an orbit of the source
            source = concatenate([views[c.source].params] * times)
            features = torch.cat([before.repeat(times, 1), features], 1)
        guesses = torch.split(to_float32(self.head(features)), self.widths, 1)
        losses = {}
        for (name, target), guess in zip(c.targets.items(), guesses, strict=True):
            transform = between(source, views[c.view].params, self.spaces[name])
            losses[name] = target.weight * target.loss(guess, transform)
        return losses


def _orders(space: Space) -> list[int]:
    return [len(factor.elements()) for factor in space]
