"""Exact rearrangements of pixels: flips and quarter turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation, Moments, NativeStep
from equissl.augment.batched import overwrite
from equissl.augment.validation import check_number, flag, switch
from equissl.params import Binary, Cyclic, Params, Space
from equissl.random import Stream


@dataclass(frozen=True)
class HorizontalFlip(Augmentation):
    """Swap left and right (torchvision's RandomHorizontalFlip).

    Raises:
        ValueError: ``probability`` is outside [0, 1].
    """

    stream_name: ClassVar[str] = "HorizontalFlip"

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_number("HorizontalFlip.probability", self.probability)

    @property
    def space(self) -> Space:
        return Space((Binary("horizontal_flip"),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        return sample_switch(self.space, stream, self.probability)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        flipped = is_on(params, "horizontal_flip")
        return overwrite(images.clone(), flipped, lambda x: x.flip(3))

    def native(self, params: Params) -> NativeStep:
        return NativeStep("mirror", params.values["horizontal_flip"])

    def moments(self) -> Moments:
        return switch("horizontal_flip", self.probability)


@dataclass(frozen=True)
class VerticalFlip(Augmentation):
    """Swap top and bottom (torchvision's RandomVerticalFlip).

    Raises:
        ValueError: ``probability`` is outside [0, 1].
    """

    stream_name: ClassVar[str] = "VerticalFlip"

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_number("VerticalFlip.probability", self.probability)

    @property
    def space(self) -> Space:
        return Space((Binary("vertical_flip"),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        return sample_switch(self.space, stream, self.probability)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        flipped = is_on(params, "vertical_flip")
        return overwrite(images.clone(), flipped, lambda x: x.flip(2))

    def native(self, params: Params) -> NativeStep:
        return NativeStep("flip", params.values["vertical_flip"])

    def moments(self) -> Moments:
        return switch("vertical_flip", self.probability)


@dataclass(frozen=True)
class QuarterTurn(Augmentation):
    """Turn a square image counter-clockwise by 0, 1, 2 or 3 quarters (RotNet, arXiv:1803.07728).

    Raises:
        ValueError: ``probability`` is outside [0, 1], or an image is not square.
    """

    paper: ClassVar[str] = "arXiv:1803.07728"
    bibtex: ClassVar[str] = r"""
    @inproceedings{rotnet2018,
      title = {{Unsupervised Representation Learning by Predicting Image Rotations}},
      author = {Gidaris, Spyros and Singh, Praveer and Komodakis, Nikos},
      booktitle = {International Conference on Learning Representations},
      year = {2018},
      eprint = {1803.07728},
      archivePrefix = {arXiv},
    }
    """
    stream_name: ClassVar[str] = "QuarterTurn"

    probability: float = 1.0

    def __post_init__(self) -> None:
        check_number("QuarterTurn.probability", self.probability)

    @property
    def space(self) -> Space:
        return Space((Cyclic("quarter_turns", order=4),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        check_square(size)
        turns = stream.integers("turns", 4).float()[:, None]
        applied = stream.chance("applied", self.probability)
        return Params.of(self.space, {"quarter_turns": turns}, applied)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        check_square((images.shape[2], images.shape[3]))
        turns = params.values["quarter_turns"][:, 0].round().remainder(4)
        images = overwrite(images.clone(), turns.remainder(2) == 1, lambda x: x.mT)
        images = overwrite(images, (turns == 1) | (turns == 2), lambda x: x.flip(2))
        return overwrite(images, (turns == 2) | (turns == 3), lambda x: x.flip(3))

    def moments(self) -> Moments:
        p = self.probability
        row = torch.tensor([p], dtype=torch.float64)
        return {"quarter_turns": (1.5 * row, 3.5 * row), **flag("quarter_turns", p)}


def sample_switch(space: Space, stream: Stream, probability: float) -> Params:
    """A draw of the one factor of ``space``: 1 with the given probability, else 0."""
    applied = stream.chance("applied", probability)
    return Params.of(space, {name: applied[:, None].float() for name in space.names}, applied)


def is_on(params: Params, name: str) -> Tensor:
    """Where a factor that is 0 or 1 is 1, bool (B,)."""
    return params.values[name][:, 0] > 0.5


def check_square(size: tuple[int, int]) -> None:
    """
    Raises:
        ValueError: height and width differ.
    """
    if size[0] != size[1]:
        raise ValueError(f"quarter turns need square images, got {size[0]}x{size[1]}; crop them first")
