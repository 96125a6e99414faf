"""Patches masked for a transformer, recorded and sampled like any other augmentation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.validation import check_at_least, check_between, check_range
from equissl.params import PATCH_MASK, Mask, Params, Space
from equissl.random import Stream

_TRIES = 10  # blocks that are proposed; what they leave open is filled patch by patch
_LEAST = 0.02  # share of the image that a block has at least
_FLAT = 0.3  # least ratio of a block's sides


@dataclass(frozen=True)
class PatchMask(Augmentation):
    """Sample which patches are masked, in blocks; pixels stay, the encoder puts its mask token there.

    Blocks of random area and shape are added as long as they fit (BEiT, arXiv:2106.08254, algorithm 1);
    single patches fill up to the number wanted, which the original leaves open. A teacher that is given the
    images alone sees all of them.

    Args:
        grid_size: patches along each side of the view.
        mask_ratio: range of the fraction that is masked, within (0, 1] (iBOT, DINOv2: 0.1 to 0.5, from
            memory).
        p: probability of masking anything (0.5 there).

    Raises:
        ValueError: a field is out of its range.
    """

    paper: ClassVar[str] = "arXiv:2106.08254"
    bibtex: ClassVar[str] = r"""
    @inproceedings{beit2022,
      title = {{BEiT: BERT Pre-Training of Image Transformers}},
      author = {Bao, Hangbo and Dong, Li and Piao, Songhao and Wei, Furu},
      booktitle = {International Conference on Learning Representations},
      year = {2022},
      eprint = {2106.08254},
      archivePrefix = {arXiv},
    }
    """
    stream_name: ClassVar[str] = "PatchMask"

    grid_size: int = 14
    mask_ratio: tuple[float, float] = (0.1, 0.5)
    p: float = 0.5

    def __post_init__(self) -> None:
        check_at_least("PatchMask.grid_size", self.grid_size, 1)
        check_range("PatchMask.mask_ratio", self.mask_ratio, 0, 1, exclusive=True)
        check_between("PatchMask.p", self.p)

    @property
    def space(self) -> Space:
        return Space((Mask(PATCH_MASK, count=self.grid_size**2),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        count = self.grid_size**2
        wanted = (stream.uniform("ratio", 1, *self.mask_ratio) * count).round().clamp(min=1)
        mask = torch.zeros(
            len(stream), self.grid_size, self.grid_size, dtype=torch.bool, device=wanted.device
        )
        for k in range(_TRIES):
            more = mask | self._block(stream.uniform(f"block {k}", 4), wanted - _count(mask))
            mask = torch.where((_count(more) <= wanted)[..., None], more, mask)
        # Masked patches come first, then the others by chance, so that each image masks exactly its number.
        order = mask.flatten(1) + stream.uniform("rest", count) * 0.5
        rank = order.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        values = {PATCH_MASK: (rank < wanted).float()}
        return Params.of(self.space, values, stream.chance("applied", self.p))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return images

    def _block(self, chance: Tensor, room: Tensor) -> Tensor:
        """A rectangle of at most ``room`` (B, 1) patches from four numbers (B, 4): (B, side, side) bool."""
        least = max(1.0, _LEAST * self.grid_size**2)
        area = least + chance[:, :1] * (room - least).clamp(min=0)
        ratio = (math.log(_FLAT) * (1 - 2 * chance[:, 1:2])).exp()
        height, width = (n.sqrt().round().clamp(1, self.grid_size) for n in (area * ratio, area / ratio))
        top, left = (
            (c * (self.grid_size - n + 1)).floor()
            for c, n in ((chance[:, 2:3], height), (chance[:, 3:], width))
        )
        place = torch.arange(self.grid_size, device=chance.device)
        rows, columns = (
            (place >= start) & (place < start + n) for start, n in ((top, height), (left, width))
        )
        return rows[:, :, None] & columns[:, None, :]


def _count(mask: Tensor) -> Tensor:
    return mask.flatten(1).sum(1, keepdim=True)
