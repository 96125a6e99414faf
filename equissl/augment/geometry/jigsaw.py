"""Random permutation of the four quadrants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.moments import Moments, permutation_moments
from equissl.augment.validation import check_between, check_even
from equissl.params import Params, Permutation, Space
from equissl.random import Stream


@dataclass(frozen=True)
class Jigsaw(Augmentation):
    """Rearrange the four quadrants of an image (arXiv:2111.00899, section 3, as its authors' code has it).

    Quadrants are numbered clockwise, 0 top left, 1 top right, 2 bottom right, 3 bottom left; entry k of the
    factor ``jigsaw`` is the quadrant that is put in place k. Its 24 values are the permutations.

    Raises:
        ValueError: ``p`` is outside [0, 1], or an image's sides are not even.
    """

    paper: ClassVar[str] = "arXiv:2111.00899"
    stream_name: ClassVar[str] = "Jigsaw"
    geometric: ClassVar[bool | None] = True

    p: float = 1.0

    def __post_init__(self) -> None:
        check_between("Jigsaw.p", self.p)

    @property
    def space(self) -> Space:
        return Space((Permutation("jigsaw"),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        check_even(size)
        order = stream.permutation("order", 4).float()
        return Params.of(self.space, {"jigsaw": order}, stream.chance("applied", self.p))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        b, c, height, width = images.shape
        check_even((height, width))
        first, second, third, fourth = params.values["jigsaw"].round().long().unbind(1)
        clockwise = torch.stack([first, second, fourth, third], 1)
        # Cells are stored row by row, where the lower two stand the other way round.
        source = torch.where(clockwise > 1, 5 - clockwise, clockwise)
        cells = images.reshape(b, c, 2, height // 2, 2, width // 2).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        moved = cells[torch.arange(b, device=images.device)[:, None], source]
        rows = moved.view(b, 2, 2, c, height // 2, width // 2).permute(0, 3, 1, 4, 2, 5)
        return rows.reshape(images.shape)

    def moments(self) -> Moments:
        return permutation_moments("jigsaw", 4, self.p)
