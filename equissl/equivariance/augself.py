"""AugSelf: read off the features of two views what changed between them."""

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
from equissl.nn.heads import MLP, joint_batch_norm
from equissl.objective import Encodings, Equivariance, Spaces, Views
from equissl.params import Params, Space, between, factor_errors, union

_CROP = ("crop_top", "crop_left", "crop_height", "crop_width")


class Target(ABC):
    """One head: which numbers it predicts from (first, second) and how wrong a guess is."""

    weight: float

    @abstractmethod
    def width(self, space: Space) -> int:
        """Numbers the head puts out; raises KeyError if the views do not record what it needs."""

    @abstractmethod
    def loss(self, guess: Tensor, first: Params, second: Params) -> Tensor:
        """(B, width), the records of the two views -> ()."""


@dataclass(frozen=True)
class CropChange(Target):
    """Difference of crop centre (y, x) and size (height, width) in fractions; squared error on tanh.

    Args:
        mirror: a flipped view shows its crop mirrored. "own" mirrors each centre by its own view's flip, so
            that swapping the views negates the target; "first" mirrors both by the first view's, as the
            released code of AugSelf does.
    """

    weight: float = 1.0
    mirror: Literal["own", "first"] = "own"

    def width(self, space: Space) -> int:
        return len(space.select(_CROP))

    def difference(self, first: Params, second: Params) -> Tensor:
        """(B, 4)."""
        frame = second if self.mirror == "own" else first
        return _box(first, first) - _box(second, frame)

    def loss(self, guess: Tensor, first: Params, second: Params) -> Tensor:
        return F.mse_loss(guess.tanh(), self.difference(first, second))


@dataclass(frozen=True)
class ValueChange(Target):
    """Difference first - second of numbers, each divided by its range; squared error on tanh.

    Args:
        factors: e.g. brightness, contrast, saturation, hue.
        ranges: of each, maximum - minimum of what is drawn.
    """

    factors: tuple[str, ...]
    ranges: tuple[float, ...]
    weight: float = 1.0

    def __post_init__(self) -> None:
        if len(self.factors) != len(self.ranges):
            raise ValueError(f"one range per factor: {self.factors} and {self.ranges}")

    def width(self, space: Space) -> int:
        return len(space.select(self.factors))

    def difference(self, first: Params, second: Params) -> Tensor:
        """(B, number of factors)."""
        change = [
            first.space[n].between(second.values[n], first.values[n]) / r
            for n, r in zip(self.factors, self.ranges, strict=True)
        ]
        return torch.cat(change, 1)

    def loss(self, guess: Tensor, first: Params, second: Params) -> Tensor:
        return F.mse_loss(guess.tanh(), self.difference(first, second))


@dataclass(frozen=True)
class SameState(Target):
    """Whether both views were treated alike (flip, grayscale, ...); binary cross entropy on the logit."""

    factor: str
    weight: float = 1.0

    def width(self, space: Space) -> int:
        return len(space.select([self.factor]))

    def loss(self, guess: Tensor, first: Params, second: Params) -> Tensor:
        same = (first.values[self.factor] == second.values[self.factor]).to(guess.dtype)
        return F.binary_cross_entropy_with_logits(guess, same)


@dataclass(frozen=True)
class FactorChange(Target):
    """The change of any factors from second to first, each by its own kind's error (pose, turns...)."""

    factors: tuple[str, ...]
    weight: float = 1.0

    def width(self, space: Space) -> int:
        return space.select(self.factors).relative().encoded_size

    def loss(self, guess: Tensor, first: Params, second: Params) -> Tensor:
        change = between(second, first, (first.space | second.space).select(self.factors))
        return torch.stack(list(factor_errors(change.space, guess, change).values())).mean()


@dataclass(frozen=True)
class EncodedChange(Target):
    """The change of any factors from first to second as they are encoded; squared error (SIE's AugSelf).

    Source: arXiv:2302.10283, its code: a quaternion, and differences of hues.
    """

    factors: tuple[str, ...]
    weight: float = 1.0

    def width(self, space: Space) -> int:
        return space.select(self.factors).relative().encoded_size

    def loss(self, guess: Tensor, first: Params, second: Params) -> Tensor:
        change = between(first, second, (first.space | second.space).select(self.factors))
        return F.mse_loss(guess, change.encode().to(guess.dtype))


AnyTarget = CropChange | ValueChange | SameState | FactorChange | EncodedChange


class AugSelf(Equivariance):
    """Read off two views' features what changed between them (AugSelf, arXiv:2111.09613, section 3).

    Reads features, not projections.
    """

    paper: ClassVar[str] = "arXiv:2111.09613"
    bibtex: ClassVar[str] = r"""
    @inproceedings{augself2021,
      title = {{Improving Transferability of Representations via Augmentation-Aware Self-Supervision}},
      author = {Lee, Hankook and Lee, Kibok and Lee, Kimin and Lee, Honglak and Shin, Jinwoo},
      booktitle = {Advances in Neural Information Processing Systems},
      year = {2021},
      eprint = {2111.09613},
      archivePrefix = {arXiv},
    }
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """
        Args:
            targets: head name -> what it predicts, each with its own weight.
            hidden: widths of each head's hidden layers.
            symmetric: both orders of the pair are predicted; otherwise only from (first, second).
            part: which columns of the features are read.
        """

        pair: tuple[str, str] = ("a", "b")
        targets: Mapping[str, AnyTarget] = field(default_factory=lambda: {"crop": CropChange()})
        hidden: tuple[int, ...] = (512, 512)
        symmetric: bool = True
        part: str = "all"

        def build(self, encoder: Encoder, spaces: Spaces) -> AugSelf:
            return AugSelf(self, encoder, union(spaces, self.pair))

        def reads(self) -> tuple[str, ...]:
            return self.pair

    def __init__(self, config: Config, encoder: Encoder, space: Space):
        super().__init__()
        self.config = config
        width = 2 * encoder.width(config.part)
        self.heads = nn.ModuleDict(
            {name: MLP((width, *config.hidden, t.width(space))) for name, t in config.targets.items()}
        )

    def forward(
        self, views: Views, encoded: Encodings, embeddings: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        c = self.config
        one, two = (encoded[v].part(c.part) for v in c.pair)
        first, second = (views[v].params for v in c.pair)
        orders = [(torch.cat([one, two], 1), first, second), (torch.cat([two, one], 1), second, first)]
        orders = orders if c.symmetric else orders[:1]
        losses = {}
        for name, target in c.targets.items():
            guesses = joint_batch_norm(self.heads[name], [features for features, _, _ in orders])
            parts = zip(guesses, orders, strict=True)
            loss = torch.stack([target.loss(to_float32(g), start, end) for g, (_, start, end) in parts])
            losses[name] = target.weight * loss.mean()
        return losses


def _box(params: Params, frame: Params) -> Tensor:
    """Centre (y, x), height and width; x mirrored where ``frame`` is flipped: (B, 4)."""
    top, left, height, width = (params.values[n] for n in _CROP)
    y, x = top + height / 2, left + width / 2
    if "horizontal_flip" in frame.values:
        x = torch.where(frame.values["horizontal_flip"] > 0.5, 1 - x, x)
    return torch.cat([y, x, height, width], 1)
