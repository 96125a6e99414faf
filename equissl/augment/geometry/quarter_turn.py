"""Random rotation by a multiple of 90 degrees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.batched import apply_in_turn
from equissl.augment.moments import Moments, applied_moments
from equissl.augment.validation import check_between, check_square
from equissl.params import Cyclic, Params, Space
from equissl.random import Stream


@dataclass(frozen=True)
class QuarterTurn(Augmentation):
    """Rotate a square image counter-clockwise by 0, 90, 180 or 270 degrees (RotNet, arXiv:1803.07728).

    Raises:
        ValueError: ``p`` is outside [0, 1], or an image is not square.
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
    geometric: ClassVar[bool | None] = True

    p: float = 1.0

    def __post_init__(self) -> None:
        check_between("QuarterTurn.p", self.p)

    @property
    def space(self) -> Space:
        return Space((Cyclic("quarter_turns", order=4),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        check_square(size)
        turns = stream.integers("turns", 4).float()[:, None]
        applied = stream.chance("applied", self.p)
        return Params.of(self.space, {"quarter_turns": turns}, applied)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        check_square((images.shape[2], images.shape[3]))
        turns = params.values["quarter_turns"][:, 0].round().remainder(4)
        transposed = (turns.remainder(2) == 1, lambda x: x.mT)
        upside_down = ((turns == 1) | (turns == 2), lambda x: x.flip(2))
        mirrored = ((turns == 2) | (turns == 3), lambda x: x.flip(3))
        return apply_in_turn(images, [transposed, upside_down, mirrored])

    def moments(self) -> Moments:
        p = self.p
        row = torch.tensor([p], dtype=torch.float64)
        return {"quarter_turns": (1.5 * row, 3.5 * row), **applied_moments("quarter_turns", p)}
