"""Random erasing: a box of the image is painted over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.batched import apply_where
from equissl.augment.moments import REFERENCE_SIZE, Moments, empirical_moments, reference_stream
from equissl.augment.validation import check_between, check_range
from equissl.params import Params, Real, Space
from equissl.random import Stream

_NAMES = ("erase_top", "erase_left", "erase_height", "erase_width")
_CANDIDATES = 10


@dataclass(frozen=True)
class RandomErasing(Augmentation):
    """Fill a random box with a constant (arXiv:1708.04896; torchvision's RandomErasing).

    Boxes are whole pixels when drawn and recorded as fractions of the height and width; a pixel is painted
    if its center lies in the box. A box of height and width 0 is nothing.

    Args:
        scale: range of the box's area as a fraction of the image's, within (0, 1].
        ratio: range of height / width, log-uniform.
        value: what is painted, in [0, 1]: one number for all channels or one for each.

    Raises:
        ValueError: a field is out of its range.
    """

    paper: ClassVar[str] = "arXiv:1708.04896"
    bibtex: ClassVar[str] = r"""
    @inproceedings{randomerasing2020,
      title = {{Random Erasing Data Augmentation}},
      author = {Zhong, Zhun and Zheng, Liang and Kang, Guoliang and Li, Shaozi and Yang, Yi},
      booktitle = {AAAI Conference on Artificial Intelligence},
      year = {2020},
      eprint = {1708.04896},
      archivePrefix = {arXiv},
    }
    """
    stream_name: ClassVar[str] = "RandomErasing"
    geometric: ClassVar[bool | None] = False

    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    value: tuple[float, ...] = (0.0,)
    p: float = 0.5

    def __post_init__(self) -> None:
        check_range("RandomErasing.scale", self.scale, 0, 1, exclusive=True)
        check_range("RandomErasing.ratio", self.ratio, 0, exclusive=True)
        check_between("RandomErasing.p", self.p)
        if not isinstance(self.value, tuple) or not self.value:
            raise ValueError(f"RandomErasing.value must be a tuple of numbers, got {self.value!r}")
        for channel in self.value:
            check_between("RandomErasing.value", channel)

    @property
    def space(self) -> Space:
        moments = _erasing_moments(self)
        squares = {name: float(moments[name][1]) for name in _NAMES}
        # Rounded, so that machines whose sums differ in the last bit agree on the space.
        scales = {name: round(math.sqrt(s), 4) if s > 1e-8 else 1.0 for name, s in squares.items()}
        return Space(tuple(Real(name, unit="fraction", scale=scale) for name, scale in scales.items()))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        boxes, applied = _draw_boxes(self, stream, size)
        return Params.of(self.space, boxes, applied)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        if len(self.value) not in (1, images.shape[1]):
            raise ValueError(
                f"RandomErasing.value has {len(self.value)} channels, the images have {images.shape[1]}"
            )
        box = [params.values[name] for name in _NAMES]
        erased = ((box[2] > 0) & (box[3] > 0))[:, 0]
        return apply_where(images, erased, self._painted, *box)

    def moments(self) -> Moments:
        """By simulation: the number of pixels of the image has a small influence on the boxes."""
        return dict(_erasing_moments(self))

    def _painted(self, images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
        rows, columns = _covered(top, height, images.shape[2]), _covered(left, width, images.shape[3])
        inside = (rows[:, :, None] & columns[:, None, :])[:, None]
        color = self.value if len(self.value) > 1 else self.value * images.shape[1]
        painted = [x.masked_fill(inside[:, 0], v) for x, v in zip(images.unbind(1), color, strict=True)]
        return torch.stack(painted, 1)


@lru_cache
def _erasing_moments(erasing: RandomErasing) -> Moments:
    boxes, applied = _draw_boxes(erasing, reference_stream(), REFERENCE_SIZE)
    values = {name: torch.where(applied[:, None], value, 0.0) for name, value in boxes.items()}
    return empirical_moments({**values, **{f"{name}/applied": applied[:, None] for name in _NAMES}})


def _draw_boxes(
    erasing: RandomErasing, stream: Stream, size: tuple[int, int]
) -> tuple[Mapping[str, Tensor], Tensor]:
    """The box, (B, 1) fractions each, and where it is painted, (B,): not where no candidate fits."""
    tall, wide = size
    area = tall * wide * stream.uniform("area", _CANDIDATES, *erasing.scale)
    low, high = (math.log(r) for r in erasing.ratio)
    aspect = stream.uniform("ratio", _CANDIDATES, low, high).exp()
    height, width = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    valid = (height > 0) & (height < tall) & (width > 0) & (width < wide)
    first = valid.to(torch.uint8).argmax(1, keepdim=True)  # the first maximum
    height, width = height.gather(1, first), width.gather(1, first)
    top = (stream.uniform("top") * (tall - height + 1)).floor().minimum(tall - height)
    left = (stream.uniform("left") * (wide - width + 1)).floor().minimum(wide - width)
    sides = (top / tall, left / wide, height / tall, width / wide)
    applied = stream.chance("applied", erasing.p) & valid.any(1)
    return dict(zip(_NAMES, sides, strict=True)), applied


def _covered(start: Tensor, length: Tensor, pixels: int) -> Tensor:
    """Which pixels have their center between ``start`` and ``start + length``: (B, pixels) bool."""
    center = torch.arange(pixels, device=start.device) + 0.5
    return (center > start * pixels) & (center < (start + length) * pixels)
