"""What the mixtures mix: one factor of an augmentation, set by a magnitude."""

from __future__ import annotations

import math
from dataclasses import dataclass

from equissl.augment.base import REFERENCE_SIZE, Augmentation
from equissl.augment.color.histogram import AutoContrast, Equalize
from equissl.augment.color.jitter import ColorJitter
from equissl.augment.color.posterize import Posterize
from equissl.augment.color.threshold import SolarizeThreshold
from equissl.augment.filters.sharpness import Sharpness
from equissl.augment.geometry.rotate_translate import Rotate, Translate
from equissl.augment.geometry.shear import Shear
from equissl.augment.geometry.warp import Fill
from equissl.errors import nearest


@dataclass(frozen=True)
class Operation:
    """One thing a mixture can do: set one factor of an augmentation by a magnitude in [0, 1].

    Args:
        augmentation: its other factors stay neutral; what it would draw by itself does not matter.
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


def usual_operations(
    shift: float = 150 / 331, bits: tuple[int, int] = (8, 4), colour: bool = True, fill: Fill = "zeros"
) -> tuple[Operation, ...]:
    """RandAugment's operations without the identity, in torchvision's ranges, bilinear instead of nearest.

    Args:
        shift: the largest translation, as a fraction of the side.
        bits: of posterizing at magnitudes 0 and 1.
        colour: brightness, saturation, contrast and sharpness too.
        fill: what shows where the image does not reach (``warp``).
    """
    shear, translate, jitter = Shear(fill=fill), Translate(fill=fill), ColorJitter()
    blends = (
        Operation(jitter, "brightness", 1.0, 1.9, signed=True),
        Operation(jitter, "saturation", 1.0, 1.9, signed=True),
        Operation(jitter, "contrast", 1.0, 1.9, signed=True),
        Operation(Sharpness(), "sharpness", 1.0, 1.9, signed=True),
    )
    return (
        Operation(shear, "shear_x", 0.0, 0.3, signed=True),
        Operation(shear, "shear_y", 0.0, 0.3, signed=True),
        Operation(translate, "shift_x", 0.0, shift, signed=True),
        Operation(translate, "shift_y", 0.0, shift, signed=True),
        Operation(Rotate(fill=fill), "rotation", 0.0, math.radians(30), signed=True),
        Operation(Posterize(), "posterize_bits", *bits),
        Operation(SolarizeThreshold(), "solarize_threshold", 1.0, 0.0),
        Operation(AutoContrast(), "auto_contrast", 1.0, 1.0),
        Operation(Equalize(), "equalize", 1.0, 1.0),
        *(blends if colour else ()),
    )
