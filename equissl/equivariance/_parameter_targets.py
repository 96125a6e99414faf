"""What a head predicts about the parameters of a transformation: regression and classification targets.

AugSelf predicts how two views differ, E-SSL how a view was transformed. Both have heads per target, whose
outputs, size and loss are defined here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.config.validation import Checked, check_bounds, check_unique
from equissl.params import Params, Space, between, factor_errors

_CROP = ("crop_top", "crop_left", "crop_height", "crop_width")
_REGRESSION = {"l1": F.l1_loss, "mse": F.mse_loss}


class ParameterTarget(Checked, ABC):
    """One head: the size of its output and its loss; ``weight`` scales that loss."""

    weight: float
    needs_pair: ClassVar[bool] = False  # whether it is defined for two recorded views only

    def __post_init__(self) -> None:
        check_bounds(self, "weight", low=0)
        if "factors" in vars(self):
            check_unique(self, "factors")

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The factors it is about."""

    def unlearnable(self, constant: Collection[str]) -> tuple[str, ...]:
        """Those of its factors that make it impossible, given the factors that never change."""
        return tuple(n for n in self.names if n in constant)

    def selected(self, space: Space) -> Space:
        """Its factors.

        Raises:
            KeyError: the views do not record one.
            ValueError: one cannot be predicted.
        """
        chosen = space.select(self.names)
        for factor in chosen:
            if not factor.encoded_size:
                raise ValueError(f"{factor.name!r} is recorded for replays and cannot be a target")
        return chosen

    @abstractmethod
    def output_size(self, space: Space) -> int:
        """Outputs of the head, given all factors that the views record.

        Raises:
            KeyError: the views do not record a factor.
            ValueError: a factor cannot be predicted in this way.
        """

    @abstractmethod
    def loss(self, predictions: Tensor, source: Params, target: Params) -> Tensor:
        """(B, output_size) and the records of two views -> (); an image without records is unchanged."""


@dataclass(frozen=True)
class CropDifference(ParameterTarget):
    """Difference of crop centre (y, x) and size (height, width) in fractions; squared error on tanh.

    Args:
        mirror: a flipped view shows its crop mirrored. "own" mirrors each centre by its own view's flip, so
            that swapping the views negates the target; "first" mirrors both by the first view's, as the
            released code of AugSelf does.
    """

    weight: float = 1.0
    mirror: Literal["own", "first"] = "own"
    needs_pair: ClassVar[bool] = True

    @property
    def names(self) -> tuple[str, ...]:
        return _CROP

    def unlearnable(self, constant: Collection[str]) -> tuple[str, ...]:
        return _CROP if set(_CROP) <= set(constant) else ()  # a crop of fixed size still moves

    def output_size(self, space: Space) -> int:
        return len(self.selected(space))

    def difference(self, source: Params, target: Params) -> Tensor:
        """(B, 4)."""
        frame = target if self.mirror == "own" else source
        return _box(source, source) - _box(target, frame)

    def loss(self, predictions: Tensor, source: Params, target: Params) -> Tensor:
        return F.mse_loss(predictions.tanh(), self.difference(source, target))


@dataclass(frozen=True)
class ParameterDifference(ParameterTarget):
    """Difference source - target of numbers, each divided by its range; squared error on tanh.

    Args:
        factors: e.g. brightness, contrast, saturation, hue.
        ranges: of each, maximum - minimum of what is sampled.
    """

    factors: tuple[str, ...]
    ranges: tuple[float, ...]
    weight: float = 1.0
    needs_pair: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, "ranges", above=0)
        if len(self.factors) != len(self.ranges):
            raise ValueError(f"one range per factor: {self.factors} and {self.ranges}")

    @property
    def names(self) -> tuple[str, ...]:
        return self.factors

    def output_size(self, space: Space) -> int:
        return len(self.selected(space))

    def difference(self, source: Params, target: Params) -> Tensor:
        """(B, number of factors)."""
        change = [
            source.space[n].between(target.values[n], source.values[n]) / r
            for n, r in zip(self.factors, self.ranges, strict=True)
        ]
        return torch.cat(change, 1)

    def loss(self, predictions: Tensor, source: Params, target: Params) -> Tensor:
        return F.mse_loss(predictions.tanh(), self.difference(source, target))


@dataclass(frozen=True)
class SameValue(ParameterTarget):
    """Whether both views have the same value (flip, grayscale, ...); binary cross entropy on the logit."""

    factor: str
    weight: float = 1.0
    needs_pair: ClassVar[bool] = True

    @property
    def names(self) -> tuple[str, ...]:
        return (self.factor,)

    def output_size(self, space: Space) -> int:
        return len(self.selected(space))

    def loss(self, predictions: Tensor, source: Params, target: Params) -> Tensor:
        same = (source.values[self.factor] == target.values[self.factor]).to(predictions.dtype)
        return F.binary_cross_entropy_with_logits(predictions, same)


@dataclass(frozen=True)
class FactorDifference(ParameterTarget):
    """Change of any factors from target to source, each by the error of its kind (pose, quarter turns...)."""

    factors: tuple[str, ...]
    weight: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        return self.factors

    def output_size(self, space: Space) -> int:
        return self.selected(space).relative().encoded_size

    def loss(self, predictions: Tensor, source: Params, target: Params) -> Tensor:
        change = _change(target, source, self.factors)
        return torch.stack(list(factor_errors(change.space, predictions, change).values())).mean()


@dataclass(frozen=True)
class FactorRegression(ParameterTarget):
    """Regression of the encoded change of any factors from source to target.

    A number is divided by its scale, an angle or a hue is a point on the circle, a pose a quaternion. With
    "mse" it is the AugSelf of SIE's table (arXiv:2302.10283, its code).

    Args:
        error: "l1" (mean absolute error) or "mse" (mean square).
    """

    factors: tuple[str, ...]
    error: Literal["l1", "mse"] = "l1"
    weight: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        return self.factors

    def output_size(self, space: Space) -> int:
        return self.selected(space).relative().encoded_size

    def loss(self, predictions: Tensor, source: Params, target: Params) -> Tensor:
        change = _change(source, target, self.factors)
        return _REGRESSION[self.error](predictions, change.encode().to(predictions.dtype))


@dataclass(frozen=True)
class FactorClassification(ParameterTarget):
    """Which element of a finite group takes source to target: cross entropy, averaged over factors."""

    factors: tuple[str, ...]
    weight: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        return self.factors

    def output_size(self, space: Space) -> int:
        return sum(_orders(self.selected(space).relative()))

    def loss(self, predictions: Tensor, source: Params, target: Params) -> Tensor:
        losses = [F.cross_entropy(s, e) for s, e in self._classified(predictions, source, target)]
        return torch.stack(losses).mean()

    def accuracy(self, predictions: Tensor, source: Params, target: Params) -> tuple[float, float]:
        """Accuracy, and that of the most frequent element (chance), averaged over factors."""
        pairs = self._classified(predictions, source, target)
        right = [(scores.argmax(1) == element).double().mean() for scores, element in pairs]
        chance = [element.bincount().max() / len(element) for _, element in pairs]
        return float(torch.stack(right).mean()), float(torch.stack(chance).double().mean())

    def _classified(self, predictions: Tensor, source: Params, target: Params) -> list[tuple[Tensor, Tensor]]:
        """Scores (B, order) and element (B,) of each factor."""
        change = _change(source, target, self.factors)
        logits = torch.split(predictions, _orders(change.space), 1)
        return [
            (scores, factor.element(change.values[factor.name]))
            for factor, scores in zip(change.space, logits, strict=True)
        ]


AnyParameterTarget = (
    CropDifference
    | ParameterDifference
    | SameValue
    | FactorDifference
    | FactorRegression
    | FactorClassification
)


def _change(source: Params, target: Params, factors: tuple[str, ...]) -> Params:
    return between(source, target, (source.space | target.space).select(factors))


def _orders(space: Space) -> list[int]:
    return [len(factor.elements()) for factor in space]


def _box(params: Params, frame: Params) -> Tensor:
    """Centre (y, x), height and width; x mirrored where ``frame`` is flipped: (B, 4)."""
    top, left, height, width = (params.values[n] for n in _CROP)
    y, x = top + height / 2, left + width / 2
    if "horizontal_flip" in frame.values:
        x = torch.where(frame.values["horizontal_flip"] > 0.5, 1 - x, x)
    return torch.cat([y, x, height, width], 1)
