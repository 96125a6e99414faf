"""Exact symmetries of periodic images: rolls by whole pixels, half rolls and flips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.batched import apply_in_turn
from equissl.augment.binary import binary_mask
from equissl.augment.moments import Moments, applied_moments, binary_moments
from equissl.augment.validation import check_between
from equissl.params import Binary, Circular, Params, Space
from equissl.random import Stream


@dataclass(frozen=True)
class Roll(Augmentation):
    """Shift a periodic image by whole pixels, uniformly along both axes.

    Raises:
        ValueError: ``p`` is outside [0, 1].
    """

    paper: ClassVar[str] = "arXiv:2111.00899"
    stream_name: ClassVar[str] = "Roll"
    geometric: ClassVar[bool | None] = True

    p: float = 1.0

    def __post_init__(self) -> None:
        check_between("Roll.p", self.p)

    @property
    def space(self) -> Space:
        names = ("roll_down", "roll_right")
        return Space(tuple(Circular(n, period=1.0, unit="fraction") for n in names))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        values = {
            f.name: stream.integers(f.name, pixels).float()[:, None] / pixels
            for f, pixels in zip(self.space, size, strict=True)
        }
        return Params.of(self.space, values, stream.chance("applied", self.p))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        count, channels, height, width = images.shape
        rows, columns = (
            _source_indices(params.values[name], pixels)
            for name, pixels in (("roll_down", height), ("roll_right", width))
        )
        image = torch.arange(count, device=images.device).view(-1, 1, 1, 1)
        channel = torch.arange(channels, device=images.device).view(1, -1, 1, 1)
        return images[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _source_indices(shift: Tensor, pixels: int) -> Tensor:
    """Source index of each pixel along one side: shifts (B, 1) as fractions -> int64 (B, pixels)."""
    target = torch.arange(pixels, device=shift.device)
    return (target - (shift * pixels).round().long()).remainder(pixels)


@dataclass(frozen=True)
class HalfRoll(Augmentation):
    """Shift a periodic image by half its height, half its width, both or neither (E-SSL's Blob setting).

    Args:
        p: probability of each axis.

    Raises:
        ValueError: ``p`` is outside [0, 1], or a side is odd.
    """

    paper: ClassVar[str] = "arXiv:2111.00899"
    stream_name: ClassVar[str] = "HalfRoll"
    geometric: ClassVar[bool | None] = True

    p: float = 0.5

    def __post_init__(self) -> None:
        check_between("HalfRoll.p", self.p)

    @property
    def space(self) -> Space:
        return Space((Binary("half_roll_down"), Binary("half_roll_right")))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        _check_even(size)
        on = {f.name: stream.chance(f.name, self.p) for f in self.space}
        return Params(self.space, {n: o.float()[:, None] for n, o in on.items()}, on, len(stream))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        height, width = images.shape[2:]
        _check_even((height, width))
        down = (binary_mask(params, "half_roll_down"), lambda p: p.roll(height // 2, 2))
        right = (binary_mask(params, "half_roll_right"), lambda p: p.roll(width // 2, 3))
        return apply_in_turn(images, [down, right])

    def moments(self) -> Moments:
        p = self.p
        return binary_moments("half_roll_down", p) | binary_moments("half_roll_right", p)


def _check_even(size: tuple[int, int]) -> None:
    if size[0] % 2 or size[1] % 2:
        raise ValueError(f"half rolls need even sides, got {size[0]}x{size[1]}")


@dataclass(frozen=True)
class EitherFlip(Augmentation):
    """Leave the image, swap left and right, or swap top and bottom, a third each (E-SSL's photonics code).

    With a random quarter turn after it, mirror images are twice as likely as plain ones.
    """

    paper: ClassVar[str] = "arXiv:2111.00899"
    stream_name: ClassVar[str] = "EitherFlip"
    geometric: ClassVar[bool | None] = True

    @property
    def space(self) -> Space:
        return Space((Binary("horizontal_flip"), Binary("vertical_flip")))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        which = stream.integers("which", 3)
        on = {f.name: which == k for k, f in enumerate(self.space, 1)}
        return Params(self.space, {n: o.float()[:, None] for n, o in on.items()}, on, len(stream))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        horizontal = (binary_mask(params, "horizontal_flip"), lambda p: p.flip(3))
        vertical = (binary_mask(params, "vertical_flip"), lambda p: p.flip(2))
        return apply_in_turn(images, [horizontal, vertical])

    def moments(self) -> Moments:
        third = torch.tensor([1 / 3], dtype=torch.float64)
        names = self.space.names
        return dict.fromkeys(names, (third, third)) | {
            k: v for n in names for k, v in applied_moments(n, 1 / 3).items()
        }
