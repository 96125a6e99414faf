"""Operations of RandAugment and AugMix: one factor of an augmentation, set by a magnitude."""

from __future__ import annotations

import math
from dataclasses import dataclass

from equissl.augment.base import Augmentation
from equissl.augment.color.autocontrast import AutoContrast
from equissl.augment.color.color_jitter import ColorJitter
from equissl.augment.color.equalize import Equalize
from equissl.augment.color.posterize import Posterize
from equissl.augment.color.solarize import SolarizeThreshold
from equissl.augment.filters.sharpness import Sharpness
from equissl.augment.geometry.rotate import Rotate
from equissl.augment.geometry.shear import Shear
from equissl.augment.geometry.translate import Translate
from equissl.augment.geometry.warp import PaddingMode
from equissl.augment.moments import REFERENCE_SIZE
from equissl.config.validation import Checked
from equissl.errors import nearest


@dataclass(frozen=True)
class Operation(Checked):
    """Set one factor of an augmentation by a magnitude in [0, 1].

    Args:
        augmentation: its other factors stay neutral; its ranges do not matter.
        factor: the name of a factor of one number.
        start, end: the factor's value at magnitude 0 and at magnitude 1, linear in between.
        signed: magnitudes may be negative too, on the other side of ``start``.

    Raises:
        ValueError: the augmentation has no such factor, or changes the size of images.
    """

    augmentation: Augmentation
    factor: str
    start: float
    end: float
    signed: bool = False

    def __post_init__(self) -> None:
        space, kind = self.augmentation.space, type(self.augmentation).__name__
        if self.factor not in space.names:
            hint = nearest(self.factor, space.names)
            raise ValueError(f"Operation.factor: {kind} has no factor {self.factor!r}; {hint}")
        if space[self.factor].size != 1:
            raise ValueError(f"Operation.factor must consist of one number, {self.factor!r} does not")
        if self.augmentation.output_size(REFERENCE_SIZE) != REFERENCE_SIZE:
            raise ValueError(f"Operation.augmentation must keep the size of images, {kind} does not")


def default_operations(
    translate: float = 150 / 331,
    bits: tuple[int, int] = (8, 4),
    color: bool = True,
    padding_mode: PaddingMode = "zeros",
) -> tuple[Operation, ...]:
    """RandAugment's operations in torchvision's ranges, bilinear, without the identity.

    Args:
        translate: largest translation as a fraction of the side.
        bits: of ``Posterize`` at magnitudes 0 and 1.
        color: include brightness, saturation, contrast and sharpness.
        padding_mode: of the geometric operations, see ``geometry.warp``.
    """
    shear, shift = Shear(padding_mode=padding_mode), Translate(padding_mode=padding_mode)
    jitter = ColorJitter()
    blends = (
        Operation(jitter, "brightness", 1.0, 1.9, signed=True),
        Operation(jitter, "saturation", 1.0, 1.9, signed=True),
        Operation(jitter, "contrast", 1.0, 1.9, signed=True),
        Operation(Sharpness(), "sharpness", 1.0, 1.9, signed=True),
    )
    return (
        Operation(shear, "shear_x", 0.0, 0.3, signed=True),
        Operation(shear, "shear_y", 0.0, 0.3, signed=True),
        Operation(shift, "shift_x", 0.0, translate, signed=True),
        Operation(shift, "shift_y", 0.0, translate, signed=True),
        Operation(Rotate(padding_mode=padding_mode), "rotation", 0.0, math.radians(30), signed=True),
        Operation(Posterize(), "posterize_bits", *bits),
        Operation(SolarizeThreshold(), "solarize_threshold", 1.0, 0.0),
        Operation(AutoContrast(), "auto_contrast", 1.0, 1.0),
        Operation(Equalize(), "equalize", 1.0, 1.0),
        *(blends if color else ()),
    )
