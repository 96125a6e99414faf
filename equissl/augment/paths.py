"""Ways that lead from an image to its transformed self in small steps (arXiv:2503.18753, section 2.1).

Each is an augmentation that a ``Between`` view stops on the way of: with all its factors neutral it is the
identity, and a fraction of every number is a fraction of the way. Ranges are the paper's. Its unit of
translation is not given; pixels at 224 are assumed, so the default is 10 / 224 of the side. What stands
outside the image is not given either: mirrored here ("reflect"), since black corners tell the angle.
"""

from __future__ import annotations

from collections.abc import Mapping

from equissl.augment.base import Augmentation
from equissl.augment.color.jitter import ColorJitter
from equissl.augment.filters.blur import Blur
from equissl.augment.geometry.affine import Affine
from equissl.augment.geometry.rotate_translate import Rotate, Translate
from equissl.augment.geometry.warp import Fill
from equissl.augment.prefixed import Prefixed
from equissl.params import Factor

SHIFT = 10 / 224  # of the side
PREFIX = "path_"


def rotation(degrees: float = 45.0, fill: Fill = "reflect") -> Prefixed:
    """A turn about the centre by up to ``degrees`` either way."""
    return Prefixed(Rotate((-degrees, degrees), fill), PREFIX)


def translation(fraction: float = SHIFT, fill: Fill = "reflect") -> Prefixed:
    """A shift by up to ``fraction`` of the side along either axis."""
    return Prefixed(Translate(fraction, fill), PREFIX)


def se2(degrees: float = 45.0, fraction: float = SHIFT, fill: Fill = "reflect") -> Prefixed:
    """A turn and then a shift in one warp; the way is straight in (angle, x, y), not a screw."""
    still = (1.0, 1.0), (0.0, 0.0), (0.0, 0.0)
    return Prefixed(Affine((-degrees, degrees), (fraction, fraction), *still, fill=fill), PREFIX)


def color(strength: float = 0.4, hue: float = 0.1) -> Prefixed:
    """Brightness, contrast, saturation and hue; the order of the four is drawn once for the whole way."""
    return Prefixed(ColorJitter(strength, strength, strength, hue, probability=1.0), PREFIX)


def blur(sigma: tuple[float, float] = (0.1, 2.0), kernel: int = 13) -> Prefixed:
    """A Gaussian blur whose standard deviation grows along the way from 0."""
    return Prefixed(Blur(kernel, sigma, probability=1.0), PREFIX)


def moving(path: Augmentation) -> tuple[str, ...]:
    """The factors of a way that have values in between (all but an order)."""
    return tuple(f.name for f in path.space if _continuous(f))


def _continuous(factor: Factor) -> bool:
    rest = factor.neutral(1)
    try:
        factor.interpolate(rest, rest, 0.5)
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
