"""Exact rearrangements of an image's parts: the 2x2 jigsaw and the swap of two halves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation, Moments
from equissl.augment.batched import overwrite
from equissl.augment.geometry.flip import is_on, sample_switch
from equissl.augment.validation import check_number, flag, switch
from equissl.params import Binary, Params, Permutation, Space
from equissl.random import Stream


@dataclass(frozen=True)
class Jigsaw(Augmentation):
    """Rearrange the four quadrants of an image (arXiv:2111.00899, section 3, as its authors' code has it).

    Quadrants are numbered clockwise, 0 top left, 1 top right, 2 bottom right, 3 bottom left; entry k of the
    factor ``jigsaw`` is the quadrant that is put in place k. Its 24 values are the permutations.

    Raises:
        ValueError: ``probability`` is outside [0, 1], or an image's sides are not even.
    """

    paper: ClassVar[str] = "arXiv:2111.00899"
    stream_name: ClassVar[str] = "Jigsaw"

    probability: float = 1.0

    def __post_init__(self) -> None:
        check_number("Jigsaw.probability", self.probability)

    @property
    def space(self) -> Space:
        return Space((Permutation("jigsaw"),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        _check_even(size)
        order = stream.permutation("order", 4).float()
        return Params.of(self.space, {"jigsaw": order}, stream.chance("applied", self.probability))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        b, c, height, width = images.shape
        _check_even((height, width))
        first, second, third, fourth = params.values["jigsaw"].round().long().unbind(1)
        clockwise = torch.stack([first, second, fourth, third], 1)
        # Cells are stored row by row, where the lower two stand the other way round.
        source = torch.where(clockwise > 1, 5 - clockwise, clockwise)
        cells = images.reshape(b, c, 2, height // 2, 2, width // 2).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        moved = cells[torch.arange(b, device=images.device)[:, None], source]
        rows = moved.view(b, 2, 2, c, height // 2, width // 2).permute(0, 3, 1, 4, 2, 5)
        return rows.reshape(images.shape)

    def moments(self) -> Moments:
        p = self.probability
        place = torch.arange(4, dtype=torch.float64)
        order = (1.5 * p + (1 - p) * place, 3.5 * p + (1 - p) * place.square())
        return {"jigsaw": order, **flag("jigsaw", p)}


@dataclass(frozen=True)
class HalfSwap(Augmentation):
    """Swap the upper and the lower half of an image.

    Raises:
        ValueError: ``probability`` is outside [0, 1], or an image's sides are not even.
    """

    stream_name: ClassVar[str] = "HalfSwap"

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_number("HalfSwap.probability", self.probability)

    @property
    def space(self) -> Space:
        return Space((Binary("half_swap"),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        _check_even(size)
        return sample_switch(self.space, stream, self.probability)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        _check_even((images.shape[2], images.shape[3]))
        swapped = is_on(params, "half_swap")
        return overwrite(images.clone(), swapped, lambda x: x.roll(x.shape[2] // 2, 2))

    def moments(self) -> Moments:
        return switch("half_swap", self.probability)


def _check_even(size: tuple[int, int]) -> None:
    if size[0] % 2 or size[1] % 2:
        raise ValueError(f"halves and quadrants need images with even sides, got {size[0]}x{size[1]}")
