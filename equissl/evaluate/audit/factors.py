"""The augmentations of the audit, one at a time, with ranges wide enough to be visible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import Augmentation, Pipeline
from equissl.augment.color.color_jitter import ColorJitter
from equissl.augment.color.grayscale import Grayscale
from equissl.augment.color.invert import Invert
from equissl.augment.color.solarize import Solarize
from equissl.augment.filters.gaussian_blur import GaussianBlur
from equissl.augment.geometry.flip import HorizontalFlip, VerticalFlip
from equissl.augment.geometry.quarter_turn import QuarterTurn
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.augment.geometry.rotate import Rotate
from equissl.errors import UserError
from equissl.params import Params, Space
from equissl.random import Stream


@dataclass(frozen=True)
class _CropInPlace(Augmentation):
    """Cut out a random box and resize it to the short side of the image it came from.

    Args:
        area: range of the box's fraction of the image area, within (0, 1].
    """

    stream_name: ClassVar[str] = "CropInPlace"
    geometric: ClassVar[bool | None] = True

    area: tuple[float, float] = (0.3, 0.8)

    @property
    def space(self) -> Space:
        return self._to(1).space

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        return self._to(1).sample(stream, size)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return self._to(min(images.shape[-2:])).apply(images, params)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return (min(size), min(size))

    def _to(self, size: int) -> RandomResizedCrop:
        return RandomResizedCrop(size, self.area)


AUDITS: Mapping[str, Augmentation] = {
    "crop": _CropInPlace(),
    "horizontal_flip": HorizontalFlip(p=0.5),
    "quarter_turns": QuarterTurn(),
    # Mirrored, not black, outside the image: black corners would reveal the angle.
    "rotation": Rotate(degrees=(-180.0, 180.0), padding_mode="reflection"),
    "hue": ColorJitter(0, 0, 0, hue=0.5, p=1),
    "saturation": ColorJitter(0, 0, saturation=0.8, hue=0, p=1),
    "brightness": ColorJitter(brightness=0.4, contrast=0, saturation=0, hue=0, p=1),
    "contrast": ColorJitter(0, contrast=0.6, saturation=0, hue=0, p=1),
    "blur": GaussianBlur(sigma=(0.1, 2.0), p=1),
    "grayscale": Grayscale(p=0.5),
    "vertical_flip": VerticalFlip(p=0.5),
    "solarize": Solarize(p=0.5),
    "invert": Invert(p=0.5),
}
ON_REQUEST = frozenset({"vertical_flip", "solarize", "invert"})  # only where an audit asks for them by name
NEEDS_COLOR = frozenset({"hue", "saturation", "contrast", "grayscale"})  # need three channels
NEEDS_SQUARE = frozenset({"quarter_turns"})


_SMALL_CROP = _CropInPlace((0.9, 1.0))


@dataclass(frozen=True)
class Audited:
    """An augmentation whose parameters are read from the features of plain and changed images.

    Args:
        name: how an audit is asked for it.
        augment: makes the changed images.
        factors: names of the parameters that are read.
        source: makes the plain images; None leaves them as they are.
    """

    name: str
    augment: Augmentation
    factors: tuple[str, ...]
    source: Augmentation | None = None


def audited(item: str | Augmentation) -> Audited:
    """The audit of that name, or of an augmentation of the user's own.

    Both images are cropped a little where the augmentation is applied to some images only, as features that
    have not moved at all would tell; and where it turns them, as its interpolation would. (Of 400 images of
    CIFAR-10, raw pixels read a flip at 0.86 with these crops, at 0.82 with one of 80 to 100 % of the area of
    the changed image alone and at 0.65 with one of 30 to 80 %.)
    """
    if not isinstance(item, str):
        readable = tuple(f.name for f in item.space if f.encoded_size)  # not those that are only replayed
        return Audited(type(item).__name__, item, readable)
    augment, factors = AUDITS[item], factors_of(item)
    if item == "rotation" or any(f.discrete for f in augment.space.select(factors)):
        return Audited(item, Pipeline((_SMALL_CROP, augment)), factors, _SMALL_CROP)
    return Audited(item, augment, factors)


def audited_once(items: Sequence[str | Augmentation]) -> list[Audited]:
    """The audits of some names and augmentations.

    Raises:
        UserError: two are called alike or have a factor of one name, so that scores would be mixed up, or an
            augmentation has no parameter.
    """
    audits = [audited(item) for item in items]
    problems = [f"factors: {a.name} has no parameter that could be read" for a in audits if not a.factors]
    for what in ({a.name for a in audits}, {f for a in audits for f in a.factors}):
        for name in sorted(what):
            found = [a.name for a in audits if name == a.name or name in a.factors]
            if len(found) > 1:
                where = " and from ".join(found)
                problems.append(
                    f"factors: {name!r} would be read from {where}; audit them one after the other"
                )
    if problems:
        raise UserError(list(dict.fromkeys(problems)))
    return audits


def factors_of(name: str) -> tuple[str, ...]:
    """The factors of the audit ``name``: the one of that name, or all of its augmentation."""
    names = AUDITS[name].space.names
    return (name,) if name in names else names
