"""What an objective is: the page to read before writing one.

A ``Base`` makes two views of an image agree; an ``Equivariance`` module keeps what the views differ in.
Both read the encoded views and return named loss terms. ``Model`` adds them up; nothing else knows the sum.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from equissl.encoder.encoder import Encoded, Encoder
from equissl.nn.pixel_loss import Drawing
from equissl.params import Params, Space
from equissl.views import View

Views = Mapping[str, View]
Encodings = Mapping[str, Encoded]
Spaces = Mapping[str, Space]


@dataclass(frozen=True)
class Outcome:
    """What a base objective found.

    Args:
        losses: weighted terms, () each: their sum is the objective.
        embeddings: view name -> (B, d), for modules that build on them.
    """

    losses: dict[str, Tensor]
    embeddings: dict[str, Tensor]


class Objective(nn.Module, ABC):
    """Something that turns encoded views into loss terms."""

    title: ClassVar[str] = ""  # what people call it; the class's name if it is not given
    paper: ClassVar[str] = ""  # "arXiv:..."
    bibtex: ClassVar[str] = ""  # its entry, unless another class with this paper has it
    fixed_lr: ClassVar[tuple[str, ...]] = ()  # submodules whose learning rate does not decay

    def after_step(self, encoder: Encoder, progress: float) -> None:
        """Move what gradients do not train (a teacher, a queue).

        Called after every optimizer step; ``progress`` is the share of all steps done, in (0, 1].
        """


class Base(Objective):
    """An invariance objective on two views."""

    @abstractmethod
    def forward(self, views: Views, encoded: Encodings) -> Outcome: ...


class Equivariance(Objective):
    """An objective that uses how the views were made."""

    @abstractmethod
    def forward(
        self, views: Views, encoded: Encodings, embeddings: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Terms () whose sum is this module's loss; ``Model`` applies the weight."""


@runtime_checkable
class Predictive(Protocol):
    """A module that can say where features go when an image is changed."""

    @property
    def space(self) -> Space:
        """The absolute factors whose change it reads; ``params.between(source, target, space)``."""

    def predict(self, source: Encoded, change: Params) -> Tensor:
        """The expected embedding of the changed image: (B, d)."""

    def target(self, target: Encoded) -> Tensor:
        """The embedding of the changed image: (B, d)."""


@runtime_checkable
class Draws(Protocol):
    """A module that can show the images it reconstructs."""

    def draw(self, views: Views, encoded: Encodings) -> dict[str, Drawing]:
        """View name -> what was drawn of it and what it is."""


@runtime_checkable
class BaseConfig(Protocol):
    """A frozen dataclass that describes a base objective."""

    def build(self, encoder: Encoder, spaces: Spaces) -> Base:
        """``spaces``: view name -> the factors recorded for it."""

    def reads(self) -> tuple[str, ...]:
        """The views that must be encoded for it."""


@runtime_checkable
class EquivarianceConfig(Protocol):
    """A frozen dataclass that describes an equivariance module."""

    def build(self, encoder: Encoder, spaces: Spaces) -> Equivariance: ...

    def reads(self) -> tuple[str, ...]: ...
