"""Factors of variation of images: their kinds, their arithmetic, and batches of their values.

A ``Factor`` is a kind of quantity (a hue, a flip, a pose), a ``Space`` an ordered set of them, known before
any data exists so that every head can be sized from it, and ``Params`` one value per image. Values are stored
in natural units (fractions of the image, radians, turns) and encoded to numbers of order one for networks.
"""

from equissl.params._continuous import Circular, Real
from equissl.params._discrete import Binary, Cyclic, Permutation
from equissl.params._factor import Factor
from equissl.params._motion import RigidMotion
from equissl.params._params import (
    Params,
    Space,
    between,
    concatenate,
    factor_errors,
    interpolate,
    merge,
    union,
)
from equissl.params._replay_only import PATCH_MASK, Mask, Seed
from equissl.params._rotation import Rotation, euler_quaternion, quaternion_product

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
    "merge",
    "quaternion_product",
    "union",
]
