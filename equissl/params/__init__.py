"""How an image came to be: named factors, the arithmetic each obeys, and a batch of their values.

A ``Factor`` is a kind of quantity (a hue, a flip, a pose), a ``Space`` an ordered set of them, known before
any data exists so that every head can size itself, and ``Params`` one value per image. Values are stored
in natural units (fractions of the image, radians, turns) and encoded to numbers of order one for networks.
"""

from equissl.params._factor import Factor
from equissl.params._kinds import (
    Binary,
    Circular,
    Cyclic,
    Permutation,
    Real,
    Rotation,
    Seed,
    euler_quaternion,
    quaternion_product,
)
from equissl.params._mask import PATCH_MASK, Mask
from equissl.params._motion import RigidMotion
from equissl.params._records import (
    Params,
    Space,
    between,
    concatenate,
    factor_errors,
    interpolate,
    merged,
    union,
)

__all__ = [
    "PATCH_MASK",
    "Binary",
    "Circular",
    "Cyclic",
    "Factor",
    "Mask",
    "Params",
    "Permutation",
    "Real",
    "RigidMotion",
    "Rotation",
    "Seed",
    "Space",
    "between",
    "concatenate",
    "euler_quaternion",
    "factor_errors",
    "interpolate",
    "merged",
    "quaternion_product",
    "union",
]
