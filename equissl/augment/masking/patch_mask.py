"""Random patch masks for transformers, recorded like any other augmentation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.validation import check_between, check_range
from equissl.params import PATCH_MASK, Mask, Params, Space
from equissl.random import Stream

_NUM_BLOCKS = 10  # proposed blocks; the rest is filled patch by patch
_MIN_BLOCK_AREA = 0.02  # of the image
_MIN_ASPECT_RATIO = 0.3  # of a block
_MAX_GRID = 512


@dataclass(frozen=True)
class PatchMask(Augmentation):
    """Blockwise random patch mask (BEiT, arXiv:2106.08254, algorithm 1); pixels stay unchanged.

    The encoder replaces masked patches by its mask token. Blocks of random area and shape are added as long
    as they fit; single patches fill up to the target number, which the original leaves open. A teacher that
    gets the images alone sees all patches.

    Args:
        grid_size: patches along each side of the view, at most 512.
        mask_ratio: range of the fraction that is masked, within (0, 1] (iBOT, DINOv2: 0.1 to 0.5, from
            memory). At least one patch is masked.
        p: probability that an image is masked (0.5 there).

    Raises:
        ValueError: a field is out of its range.

    >>> from equissl import augment
    >>> mask = augment.PatchMask(grid_size=4, mask_ratio=(0.25, 0.25), p=1.0)
    >>> params = augment.recompute(mask, seed=0, epoch=0, index=[0, 1], view="a", size=(64, 64))
    >>> params.values["patch_mask"].sum(1)
    tensor([4., 4.])
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
    geometric: ClassVar[bool | None] = False

    grid_size: int = 14
    mask_ratio: tuple[float, float] = (0.1, 0.5)
    p: float = 0.5

    def __post_init__(self) -> None:
        check_between("PatchMask.grid_size", self.grid_size, 1, _MAX_GRID)
        check_range("PatchMask.mask_ratio", self.mask_ratio, 0, 1, exclusive=True)
        check_between("PatchMask.p", self.p)

    @property
    def space(self) -> Space:
        return Space((Mask(PATCH_MASK, count=self.grid_size**2),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        count = self.grid_size**2
        num_masked = (stream.uniform("ratio", 1, *self.mask_ratio) * count).round().clamp(min=1)
        masked = torch.zeros(
            len(stream), self.grid_size, self.grid_size, dtype=torch.bool, device=num_masked.device
        )
        for k in range(_NUM_BLOCKS):
            candidate = masked | self._block(stream.uniform(f"block {k}", 4), num_masked - _count(masked))
            masked = torch.where((_count(candidate) <= num_masked)[..., None], candidate, masked)
        # Masked patches first, then the others in random order, so that each image masks exactly its number.
        order = masked.flatten(1) + stream.uniform("rest", count) * 0.5
        rank = order.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        values = {PATCH_MASK: (rank < num_masked).float()}
        return Params.of(self.space, values, stream.chance("applied", self.p))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """
        Raises:
            ValueError: the images have fewer pixels than patches along a side.
        """
        if self.grid_size > min(images.shape[2:]):
            raise ValueError(
                f"PatchMask.grid_size={self.grid_size}: images of {images.shape[2]} x {images.shape[3]} px "
                "do not have as many patches along a side; set it to their side divided by the patch's"
            )
        return images

    def _block(self, chance: Tensor, room: Tensor) -> Tensor:
        """A rectangle of at most ``room`` (B, 1) patches from four numbers (B, 4): (B, side, side) bool."""
        smallest = max(1.0, _MIN_BLOCK_AREA * self.grid_size**2)
        area = smallest + chance[:, :1] * (room - smallest).clamp(min=0)
        ratio = (math.log(_MIN_ASPECT_RATIO) * (1 - 2 * chance[:, 1:2])).exp()
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


def _count(masked: Tensor) -> Tensor:
    return masked.flatten(1).sum(1, keepdim=True)
