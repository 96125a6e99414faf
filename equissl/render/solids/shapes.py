"""Twelve classes of solids as signed distance functions.

A shape stands upright on the z axis, is centred on the origin and is a function of its own dimensions
(lengths), so that scaling them scales the solid. Distances are exact or too small, never too large, as ray
marching needs. Formulas follow from the geometry; the ellipsoid's is the usual first-order bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from equissl.render.solids.vectors import Vector, length

Dimensions: TypeAlias = tuple[Tensor, ...]

_ROUND = 0.04  # radius of rounded edges


@dataclass(frozen=True)
class Shape:
    """One class of solids.

    Args:
        ranges: (low, high) of each dimension, sampled uniformly.
        radius: of the circumscribed sphere, from the dimensions.
        distance: signed distance of points from the surface, below 0 inside.
    """

    name: str
    ranges: tuple[tuple[float, float], ...]
    radius: Callable[[Dimensions], Tensor]
    distance: Callable[[Vector, Dimensions], Tensor]


def smooth_minimum(a: Tensor, b: Tensor, width: float) -> Tensor:
    """The lower of two distances, blended where they differ by less than ``width``: a fillet."""
    overlap = (width - (a - b).abs()).clamp(min=0)
    return torch.minimum(a, b) - overlap * overlap * (0.25 / width)


def smooth_maximum(a: Tensor, b: Tensor, width: float) -> Tensor:
    overlap = (width - (a - b).abs()).clamp(min=0)
    return torch.maximum(a, b) + overlap * overlap * (0.25 / width)


def _block(p: Vector, half: tuple[Tensor | float, Tensor | float, Tensor | float]) -> Tensor:
    x, y, z = (c.abs() - (h - _ROUND) for c, h in zip(p, half, strict=True))
    outside = length(x.clamp(min=0), y.clamp(min=0), z.clamp(min=0))
    return outside + torch.maximum(torch.maximum(x, y), z).clamp(max=0) - _ROUND


def _profile(x: Tensor, y: Tensor, half_x: Tensor, half_y: Tensor) -> Tensor:
    """Distance from a rounded rectangle in the plane."""
    x, y = x.abs() - (half_x - _ROUND), y.abs() - (half_y - _ROUND)
    outside = length(x.clamp(min=0), y.clamp(min=0))
    return outside + torch.maximum(x, y).clamp(max=0) - _ROUND


def _box(p: Vector, d: Dimensions) -> Tensor:
    return _block(p, (d[0], d[1], d[2]))


def _cylinder(p: Vector, d: Dimensions) -> Tensor:
    radius, half = d
    return _profile(length(p[0], p[1]), p[2], radius, half)


def _ellipsoid(p: Vector, d: Dimensions) -> Tensor:
    x, y, z = (c / r for c, r in zip(p, d, strict=True))
    inner = length(x, y, z)
    slope = length(x / d[0], y / d[1], z / d[2]).clamp(min=1e-6)
    return 0.8 * inner * (inner - 1) / slope  # 0.8: the first-order bound overshoots far away


def _taper(radius: Tensor, z: Tensor, base: Tensor, height: Tensor) -> Tensor:
    """Below the slope from ``base`` to the tip, above the ground."""
    slant = length(base, height)
    slope = (radius * height + (z - height / 2) * base) / slant
    return smooth_maximum(slope, -z - height / 2, 0.08)


def _cone(p: Vector, d: Dimensions) -> Tensor:
    base, height = d
    return _taper(length(p[0], p[1]), p[2], base, height)


def _pyramid(p: Vector, d: Dimensions) -> Tensor:
    base, height = d
    return _taper(smooth_maximum(p[0].abs(), p[1].abs(), 0.05), p[2], base, height)


def _torus(p: Vector, d: Dimensions) -> Tensor:
    radius, tube = d
    return length(length(p[0], p[1]) - radius, p[2]) - tube


_COS36, _SIN36 = math.cos(math.pi / 5), math.sin(math.pi / 5)


def _star(p: Vector, d: Dimensions) -> Tensor:
    """A five-pointed star with a thickness: mirrored into one tenth of it, which has one straight edge."""
    radius, waist, half = d
    x, z = p[0].abs(), p[2]
    for _ in range(2):
        side = (x * _COS36 - z * _SIN36).clamp(min=0)
        x, z = (x - 2 * _COS36 * side).abs(), z + 2 * _SIN36 * side
    edge_x, edge_z = waist * _SIN36, waist * _COS36 - radius  # from the tip (0, radius) to the notch
    edge = ((z - radius) * edge_x - x * edge_z) / length(edge_x, edge_z)
    return smooth_maximum(edge, p[1].abs() - half, 0.06)


def _cross(p: Vector, d: Dimensions) -> Tensor:
    x, y, z, bar = d
    arms = torch.minimum(_block(p, (x, bar, bar)), _block(p, (bar, y, bar)))
    return torch.minimum(arms, _block(p, (bar, bar, z)))


def _arch(p: Vector, d: Dimensions) -> Tensor:
    width, depth, height, opening = d
    above = (p[2] + height * 0.2).clamp(min=0)  # the opening is a vault: straight below, round above
    vault = length(p[0], above) - opening
    return smooth_maximum(_block(p, (width, depth, height)), -vault, 0.05)


def _stairs(p: Vector, d: Dimensions) -> Tensor:
    run, width, rise = d
    x, y, z = p
    low = _block((x, y, z + rise * (2 / 3)), (run, width, rise * (1 / 3)))
    middle = _block((x - run * (1 / 3), y, z + rise * (1 / 3)), (run * (2 / 3), width, rise * (2 / 3)))
    high = _block((x - run * (2 / 3), y, z), (run * (1 / 3), width, rise))
    return torch.minimum(torch.minimum(low, middle), high)


def _dumbbell(p: Vector, d: Dimensions) -> Tensor:
    half, large, small, bar = d
    x, y, z = p
    upper = length(x, y, z - (half - large)) - large
    lower = length(x, y, z + (half - small)) - small
    middle = torch.maximum(length(x, y) - bar, z.abs() - (half - large))
    return smooth_minimum(torch.minimum(upper, lower), middle, 0.1)


def _mug(p: Vector, d: Dimensions) -> Tensor:
    radius, half, grip = d
    x, y, z = p
    rim = length(x, y)
    hollow = _profile(rim, z - 0.18, radius - 0.15, half)
    cup = smooth_maximum(_profile(rim, z, radius, half), -hollow, 0.05)
    ring = length(length(x - radius, z) - grip, y) - 0.09
    handle = torch.maximum(ring, radius - 0.06 - rim)
    return smooth_minimum(cup, handle, 0.06)


SHAPES: tuple[Shape, ...] = (
    Shape("box", ((0.85, 1.0), (0.55, 0.75), (0.3, 0.48)), lambda d: length(*d), _box),
    Shape("cylinder", ((0.4, 0.6), (0.6, 0.9)), lambda d: length(*d), _cylinder),
    Shape("ellipsoid", ((0.9, 1.0), (0.62, 0.78), (0.4, 0.55)), lambda d: d[0], _ellipsoid),
    Shape("cone", ((0.55, 0.75), (1.3, 1.8)), lambda d: length(d[0], d[1] / 2), _cone),
    Shape("pyramid", ((0.75, 0.9), (0.9, 1.4)), lambda d: length(d[0], d[0], d[1] / 2), _pyramid),
    Shape("torus", ((0.65, 0.72), (0.2, 0.3)), lambda d: d[0] + d[1], _torus),
    Shape("star", ((0.95, 1.0), (0.4, 0.5), (0.15, 0.28)), lambda d: length(d[0], d[2]), _star),
    Shape(
        "cross",
        ((0.7, 0.9), (0.7, 0.9), (0.9, 1.0), (0.18, 0.28)),
        lambda d: length(torch.maximum(torch.maximum(d[0], d[1]), d[2]), d[3], d[3]),
        _cross,
    ),
    Shape(
        "arch",
        ((0.8, 1.0), (0.28, 0.45), (0.6, 0.85), (0.4, 0.55)),
        lambda d: length(d[0], d[1], d[2]),
        _arch,
    ),
    Shape("stairs", ((0.75, 0.9), (0.45, 0.7), (0.7, 0.9)), lambda d: length(d[0], d[1], d[2]), _stairs),
    Shape("dumbbell", ((0.95, 1.0), (0.42, 0.52), (0.28, 0.38), (0.12, 0.2)), lambda d: d[0], _dumbbell),
    Shape(
        "mug",
        ((0.5, 0.62), (0.55, 0.75), (0.28, 0.38)),
        lambda d: torch.maximum(length(d[0], d[1]), d[0] + d[2] + 0.09),
        _mug,
    ),
)

CLASS_NAMES: tuple[str, ...] = tuple(s.name for s in SHAPES)
