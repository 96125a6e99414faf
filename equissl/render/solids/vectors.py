"""Vectors as three tensors of one shape, so that every operation is elementwise.

Pixels depend only on operations that IEEE arithmetic rounds exactly (+, -, *, /, sqrt, minimum, maximum):
they give the same bits in the vectorised body of a CPU loop and in its tail, so an image does not depend
on the batch it is rendered in. Trigonometry happens once per image and in float64, then is rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Vector: TypeAlias = tuple[Tensor, Tensor, Tensor]
Distance: TypeAlias = Callable[[Vector], Tensor]


def map_components(function: Callable[[Tensor], Tensor], a: Vector) -> Vector:
    return function(a[0]), function(a[1]), function(a[2])


def take(a: Vector, rows: Tensor) -> Vector:
    return a[0][rows], a[1][rows], a[2][rows]


def add(a: Vector, b: Vector) -> Vector:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def subtract(a: Vector, b: Vector) -> Vector:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def scale(a: Vector, by: Tensor) -> Vector:
    return a[0] * by, a[1] * by, a[2] * by


def multiply(a: Vector, b: Vector) -> Vector:
    """Elementwise product, the light that a colour reflects."""
    return a[0] * b[0], a[1] * b[1], a[2] * b[2]


def ray_point(origin: Vector, direction: Vector, depth: Tensor | float) -> Vector:
    """The point ``depth`` away from ``origin``."""
    o, d = origin, direction
    return o[0] + d[0] * depth, o[1] + d[1] * depth, o[2] + d[2] * depth


def dot(a: Vector, b: Vector) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def length(*parts: Tensor) -> Tensor:
    """Euclidean length of a vector given by its components."""
    total = parts[0] * parts[0]
    for p in parts[1:]:
        total = total + p * p
    return total.sqrt()


def normalize(a: Vector) -> Vector:
    inverse = 1 / length(*a).clamp(min=1e-9)
    return scale(a, inverse)


def mix(a: Vector, b: Vector, weight: Tensor) -> Vector:
    """Linear interpolation from ``a`` (weight 0) to ``b`` (weight 1)."""
    return ray_point(a, subtract(b, a), weight)


def smoothstep(x: Tensor, low: float, high: float) -> Tensor:
    """0 below ``low``, 1 above ``high``, cubic in between.

    >>> smoothstep(torch.tensor([0.0, 1.0, 2.0]), 0, 2)
    tensor([0.0000, 0.5000, 1.0000])
    """
    t = ((x - low) * (1 / (high - low))).clamp(0, 1)
    return t * t * (3 - 2 * t)


def rotation(quaternion: Tensor) -> tuple[Vector, Vector, Vector]:
    """The rows of the rotation matrix of unit quaternions (B, 4) as (w, x, y, z); entries (B,) float32."""
    w, x, y, z = quaternion.double().unbind(1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    a, b, c = (map_components(Tensor.float, row) for row in rows)
    return a, b, c


def color(hue: Tensor, saturation: Tensor | float, value: Tensor | float) -> Vector:
    """Red, green and blue of HSV colours; ``hue`` in turns, the rest in [0, 1]."""

    def channel(offset: int) -> Tensor:
        k = (hue * 6 + offset).remainder(6)
        return value - torch.minimum(k, 4 - k).clamp(0, 1) * (saturation * value)

    return channel(5), channel(3), channel(1)
