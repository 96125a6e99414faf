"""Augmentations to interpolate along: paths from an image to its view (arXiv:2503.18753, section 2.1).

Intermediate targets of a ``Between`` view lie on such a path: with all factors neutral it is the identity,
and a fraction of every value is a fraction of the path. Ranges are the paper's. It does not state the unit of
translation (pixels at 224 are assumed, 10 / 224 of the side) nor the padding ("reflection" here, since black
corners would reveal the angle).
"""

from __future__ import annotations

from collections.abc import Mapping

from equissl.augment.base import Augmentation
from equissl.augment.color.color_jitter import ColorJitter
from equissl.augment.filters.gaussian_blur import GaussianBlur
from equissl.augment.geometry.affine import Affine
from equissl.augment.geometry.rotate import Rotate
from equissl.augment.geometry.translate import Translate
from equissl.augment.geometry.warp import PaddingMode
from equissl.augment.prefixed import Prefixed
from equissl.params import Factor

MAX_TRANSLATE = 10 / 224  # of the side
PREFIX = "path_"


def rotation(degrees: float = 45.0, padding_mode: PaddingMode = "reflection") -> Prefixed:
    """Rotation about the center by up to ``degrees`` in either direction."""
    return Prefixed(Rotate((-degrees, degrees), padding_mode), PREFIX)


def translation(translate: float = MAX_TRANSLATE, padding_mode: PaddingMode = "reflection") -> Prefixed:
    """Translation by up to ``translate`` of the side along either axis."""
    return Prefixed(Translate(translate, padding_mode), PREFIX)


def se2(
    degrees: float = 45.0, translate: float = MAX_TRANSLATE, padding_mode: PaddingMode = "reflection"
) -> Prefixed:
    """Rotation, then translation, in one warp; the path is straight in (angle, x, y), not a screw."""
    affine = Affine(
        (-degrees, degrees),
        (translate, translate),
        scale=(1.0, 1.0),
        shear_x=(0.0, 0.0),
        shear_y=(0.0, 0.0),
        padding_mode=padding_mode,
    )
    return Prefixed(affine, PREFIX)


def color(strength: float = 0.4, hue: float = 0.1) -> Prefixed:
    """Brightness, contrast, saturation and hue; their order is sampled once per path."""
    return Prefixed(ColorJitter(strength, strength, strength, hue, p=1.0), PREFIX)


def blur(sigma: tuple[float, float] = (0.1, 2.0), kernel_size: int = 13) -> Prefixed:
    """Gaussian blur whose standard deviation grows along the path from 0."""
    return Prefixed(GaussianBlur(kernel_size, sigma, p=1.0), PREFIX)


def continuous_factors(augmentation: Augmentation) -> tuple[str, ...]:
    """Names of the factors of ``augmentation`` that can be interpolated (all but an order)."""
    return tuple(f.name for f in augmentation.space if _can_interpolate(f))


def _can_interpolate(factor: Factor) -> bool:
    neutral = factor.neutral(1)
    try:
        factor.interpolate(neutral, neutral, 0.5)
    except TypeError:
        return False
    return True


PATHS: Mapping[str, Augmentation] = {
    "rotation": rotation(),
    "translation": translation(),
    "se2": se2(),
    "color": color(),
    "blur": blur(),
}
