"""Changes of images with fixed parameters, and which of them make up another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.color.color_jitter import ColorJitter
from equissl.augment.color.grayscale import Grayscale
from equissl.augment.geometry.flip import HorizontalFlip
from equissl.augment.geometry.quarter_turn import QuarterTurn
from equissl.errors import UserError, nearest
from equissl.params import Params, Space
from equissl.random import Stream


@dataclass(frozen=True)
class _Fixed(Augmentation):
    """An augmentation with the same parameters for every image.

    Args:
        names, values: of factors of one number each; the others are neutral.
    """

    augmentation: Augmentation
    names: tuple[str, ...]
    values: tuple[float, ...]

    @property
    def space(self) -> Space:
        return self.augmentation.space

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        count, device = len(stream), stream.keys.device
        neutral = self.space.neutral(count).to(device)
        given = {
            n: torch.full((count, 1), v, device=device) for n, v in zip(self.names, self.values, strict=True)
        }
        return Params.of(self.space, {**neutral.values, **given}, count=count)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return self.augmentation.apply(images, params)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return self.augmentation.output_size(size)


def fixed(augmentation: Augmentation, **values: float) -> _Fixed:
    """An augmentation that gives every image these parameters; factors without a value are neutral."""
    return _Fixed(augmentation, tuple(values), tuple(values.values()))


_COLOR = ColorJitter(1.0, 1.0, 1.0, 0.5, p=1)

CHANGES: Mapping[str, _Fixed] = {
    "rotate_90": fixed(QuarterTurn(), quarter_turns=1),
    "rotate_180": fixed(QuarterTurn(), quarter_turns=2),
    "rotate_270": fixed(QuarterTurn(), quarter_turns=3),
    "horizontal_flip": fixed(HorizontalFlip(), horizontal_flip=1),
    "hue_quarter": fixed(_COLOR, hue=0.25),
    "hue_half": fixed(_COLOR, hue=0.5),
    "hue_three_quarters": fixed(_COLOR, hue=-0.25),
    "darker": fixed(_COLOR, brightness=0.7),
    "much_darker": fixed(_COLOR, brightness=0.49),
    "brighter": fixed(_COLOR, brightness=1.4),
    "grayscale": fixed(Grayscale(), grayscale=1),
}
NEEDS_COLOR = frozenset({"hue_quarter", "hue_half", "hue_three_quarters", "grayscale"})
NEEDS_SQUARE = frozenset({"rotate_90", "rotate_270"})
UNCHANGED = ""

# The first change and then the second are the third, exactly but for rounding. (Brighter has no inverse: it
# saturates.)
PRODUCTS: tuple[tuple[str, str, str], ...] = (
    ("rotate_90", "rotate_90", "rotate_180"),
    ("rotate_90", "rotate_180", "rotate_270"),
    ("rotate_90", "rotate_270", UNCHANGED),
    ("rotate_180", "rotate_180", UNCHANGED),
    ("horizontal_flip", "horizontal_flip", UNCHANGED),
    ("hue_quarter", "hue_quarter", "hue_half"),
    ("hue_quarter", "hue_half", "hue_three_quarters"),
    ("hue_quarter", "hue_three_quarters", UNCHANGED),
    ("darker", "darker", "much_darker"),
    ("grayscale", "grayscale", "grayscale"),
)


def suitable_changes(names: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
    """The changes ``names``, or all that images (C, H, W) allow.

    Raises:
        UserError: an unknown name, a change of colour of images without colour, or a quarter turn of images
            that are not square.
    """
    check_changes(names)
    channels, height, width = shape
    reasons = {n: f"colour images, but these have {channels} channels" for n in NEEDS_COLOR if channels != 3}
    if height != width:
        reasons |= dict.fromkeys(NEEDS_SQUARE, f"square images, but these are {height} x {width}")
    if problems := [f"changes: {n!r} needs {reasons[n]}" for n in names if n in reasons]:
        raise UserError(problems)
    return names or tuple(n for n in CHANGES if n not in reasons)


def factor_of(change: str) -> str:
    """The factor that a change is one value of: "rotate_90" -> "quarter_turns"."""
    return CHANGES[change].names[0]


def check_changes(names: tuple[str, ...]) -> None:
    """Raise UserError with every name that is no change."""
    unknown = [n for n in names if n not in CHANGES]
    if unknown:
        raise UserError([f"changes: none is called {n!r}; {nearest(n, CHANGES)}" for n in unknown])
