"""Interfaces of objectives; read this file before writing one.

A ``Base`` is an invariance objective: it makes the views of an image agree. An ``Equivariance`` objective
keeps what the views differ in. Both read the encoded views and return named loss terms, which ``Model``
weighs and adds. Each has a nested frozen ``Config``, which checks its fields and builds it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from equissl.config.validation import Checked, check_unique
from equissl.encoder.encoder import Encoded, Encoder
from equissl.nn.pixel_loss import Reconstruction
from equissl.params import Params, Space
from equissl.views import View

Views = Mapping[str, View]
Encodings = Mapping[str, Encoded]
Spaces = Mapping[str, Space]


@dataclass(frozen=True)
class BaseOutput:
    """Losses and embeddings of a base objective.

    Args:
        losses: weighted terms, () each: their sum is the objective.
        embeddings: view name -> (B, d), projections that equivariance objectives may use.
    """

    losses: dict[str, Tensor]
    embeddings: dict[str, Tensor]


class Objective(nn.Module, ABC):
    """Encoded views to loss terms."""

    title: ClassVar[str] = ""  # what people call it; the class's name if it is not given
    paper: ClassVar[str] = ""  # "arXiv:..."
    bibtex: ClassVar[str] = ""  # its entry, unless another class with this paper has it
    fixed_lr: ClassVar[tuple[str, ...]] = ()  # names of submodules whose lr does not decay

    def after_step(self, encoder: Encoder, progress: float) -> None:
        """Update what gradients do not train: an EMA teacher, a queue of keys, a running mean.

        Called after every optimizer step; ``progress`` is the fraction of all steps done, in (0, 1].
        """


class Base(Objective):
    """Invariance objective on two or more views."""

    @abstractmethod
    def forward(self, views: Views, encoded: Encodings) -> BaseOutput: ...


class Equivariance(Objective):
    """Equivariance objective: uses the recorded parameters of the views."""

    @abstractmethod
    def forward(
        self, views: Views, encoded: Encodings, embeddings: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Loss terms, () each, whose sum ``Model`` multiplies by the objective's weight.

        Args:
            embeddings: view name -> (B, d), projections of the base objective; empty without one.
        """

    def scores(self, views: Views, encoded: Encodings) -> dict[str, float]:
        """How well its targets are predicted, for monitoring between epochs; nothing unless overridden."""
        return {}


@runtime_checkable
class Predictive(Protocol):
    """An equivariance objective with a predictor of the changed image's embedding."""

    @property
    def space(self) -> Space:
        """Factors whose change is the predictor's input: ``params.between(source, target, space)``."""

    def predict(self, source: Encoded, change: Params) -> Tensor:
        """Predicted embedding of the changed image: (B, d)."""

    def target(self, target: Encoded) -> Tensor:
        """Embedding of the changed image: (B, d)."""


@runtime_checkable
class Moves(Predictive, Protocol):
    """A predictor that starts from an embedding, so that one prediction can follow another."""

    def move(self, source: Tensor, change: Params) -> Tensor:
        """Predicted embedding of the changed image from the source's, (B, d), as ``target`` makes it."""


@runtime_checkable
class Reconstructs(Protocol):
    """Equivariance module that reconstructs images of views."""

    def reconstruct(self, views: Views, encoded: Encodings) -> dict[str, Reconstruction]:
        """Target view -> its reconstruction."""


class BaseConfig(Checked, ABC):
    """Builds a base objective; subclasses are frozen dataclasses."""

    @abstractmethod
    def build(self, encoder: Encoder, spaces: Spaces) -> Base:
        """``spaces``: view name -> the factors recorded for it."""

    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """Names of the views that it reads: their images, records or features."""

    def reads_encoded(self) -> tuple[str, ...]:
        """Those of them whose features it reads, so that ``ViewSpec(encode=False)`` is refused for them."""
        return self.reads()


class EquivarianceConfig(Checked, ABC):
    """Builds an equivariance objective; subclasses are frozen dataclasses."""

    @abstractmethod
    def build(self, encoder: Encoder, spaces: Spaces) -> Equivariance: ...

    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """As ``BaseConfig.reads``."""

    def reads_encoded(self) -> tuple[str, ...]:
        """As ``BaseConfig.reads_encoded``."""
        return self.reads()

    def unlearnable(self, constant: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Target -> its factors that make it impossible, given the factors that never change in its views."""
        return {}


@dataclass(frozen=True, kw_only=True)
class TwoViewConfig(BaseConfig):
    """Fields of a base objective on two views.

    Args:
        views: names of the two views.
        part: which columns of the features are read.
    """

    views: tuple[str, str] = ("a", "b")
    part: str = "all"

    def __post_init__(self) -> None:
        check_unique(self, "views")

    def reads(self) -> tuple[str, ...]:
        return self.views


@dataclass(frozen=True, kw_only=True)
class MultiCropConfig(BaseConfig):
    """Fields of a base objective on large and small crops (multi-crop of SwAV and DINO).

    Args:
        views: names of the large crops, which are of one size.
        local: names of the small crops, if any (``augment.presets.multi_crop``: "local_1", ...).
        part: which columns of the features are read.
    """

    views: tuple[str, ...] = ("a", "b")
    local: tuple[str, ...] = ()
    part: str = "all"

    def __post_init__(self) -> None:
        crops = self.reads()
        if not self.views or len(crops) < 2 or len(set(crops)) < len(crops):
            raise ValueError(f"views and local must name at least two different crops, got {crops}")

    def reads(self) -> tuple[str, ...]:
        return (*self.views, *self.local)


@dataclass(frozen=True, kw_only=True)
class PairConfig(EquivarianceConfig):
    """Fields of an equivariance objective on one pair of views.

    Args:
        pair: names of the (source, target) views.
        part: which columns of the features are read.
    """

    pair: tuple[str, str] = ("a", "b")
    part: str = "all"

    def __post_init__(self) -> None:
        check_unique(self, "pair")

    def reads(self) -> tuple[str, ...]:
        return self.pair
