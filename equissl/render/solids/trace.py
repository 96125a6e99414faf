"""Following rays to a surface: where they hit, which way it faces, how much light arrives there.

Rays are flat and each names its solid; no function looks at two rays together. Following a ray costs most
of an image's time, so rays that have arrived are weeded out every few steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.render.solids.shapes import Shape, smooth_minimum
from equissl.render.solids.vectors import Vector, along, dot, each, length, normalize, ramp, subtract, take

KNOB_RADIUS = 0.12
_NEAR_ENOUGH = 1.5e-3
_STRIDE = 8e-3  # the least step of a ray that has not arrived: one that skims the surface gets past it
_MARCH = (5, 5, 6, 8, 12, 16)  # steps between weeding out the rays that have arrived
_SHADOW = (8, 8, 8, 16)


@dataclass(frozen=True)
class Surface:
    """Solids of one shape in their own frames; tensors (n,), or (n, 1) to meet points (n, m).

    Args:
        dimensions: the lengths that ``shape`` is a function of.
        knob: centre of the small sphere that grows out of the surface.
    """

    shape: Shape
    dimensions: tuple[Tensor, ...]
    knob: Vector

    def __getitem__(self, rows: Tensor) -> Surface:
        return self.mapped(lambda c: c[rows])

    def mapped(self, f: Callable[[Tensor], Tensor]) -> Surface:
        return Surface(self.shape, tuple(f(d) for d in self.dimensions), each(f, self.knob))

    def distance(self, point: Vector) -> Tensor:
        """Signed distance (n,) from body and knob."""
        knob = length(*subtract(point, self.knob)) - KNOB_RADIUS
        return smooth_minimum(self.shape.distance(point, self.dimensions), knob, 0.05)


@dataclass(frozen=True)
class Rays:
    """Rays (n,) in the frames of their solids; ``near`` and ``far`` bound the depths that are searched.

    Args:
        solid: (n,) int64, the row of the surface that a ray may meet.
    """

    solid: Tensor
    origin: Vector
    direction: Vector
    near: Tensor
    far: Tensor

    def __getitem__(self, rows: Tensor) -> Rays:
        origin, direction = take(self.origin, rows), take(self.direction, rows)
        return Rays(self.solid[rows], origin, direction, self.near[rows], self.far[rows])

    def at(self, depth: Tensor) -> Vector:
        return along(self.origin, self.direction, depth)


def clip_to_sphere(origin: Vector, direction: Vector, radius: float) -> tuple[Tensor, Tensor]:
    """Depths at which rays enter and leave a sphere around the frame's origin; equal if they miss it."""
    middle = -dot(origin, direction)
    half = (radius * radius - dot(origin, origin) + middle * middle).clamp(min=0).sqrt()
    return middle - half, middle + half


def march(surfaces: Surface, rays: Rays) -> tuple[Tensor, Tensor]:
    """Depth (n,) at which each ray meets the surface, and whether it does (n,) bool."""
    depth, gap = rays.near.clone(), torch.full_like(rays.near, torch.inf)
    rows = (rays.far > rays.near).nonzero()[:, 0]
    for steps in _MARCH:
        ray, d, g = rays[rows], depth[rows], gap[rows]
        surface = surfaces[ray.solid]
        for _ in range(steps):
            g = surface.distance(ray.at(d))
            d = d + torch.where(g > _NEAR_ENOUGH, g.clamp(min=_STRIDE), g)
        depth[rows], gap[rows] = d, g
        rows = rows[(g > _NEAR_ENOUGH) & (d < ray.far)]
        if not len(rows):
            break
    return depth, (gap < 4 * _NEAR_ENOUGH) & (depth < rays.far)


def normal(surface: Surface, point: Vector) -> Vector:
    """Unit outward direction at points of the surface, from four distances at a tetrahedron's corners."""
    e = 2e-3
    x, y, z = point
    a = surface.distance((x + e, y - e, z - e))
    b = surface.distance((x - e, y - e, z + e))
    c = surface.distance((x - e, y + e, z - e))
    d = surface.distance((x + e, y + e, z + e))
    return normalize((a - b - c + d, c - a - b + d, b - a - c + d))


def openness(surface: Surface, point: Vector, direction: Vector, reach: float) -> Tensor:
    """How little the solid crowds the way out along ``direction``: 0 ... 1 (ambient occlusion)."""
    crowding = torch.zeros_like(point[0])
    for k in (1, 2, 3):
        step = reach * k / 3
        free = surface.distance(along(point, direction, step)).clamp(min=0)
        crowding = crowding + (step - free).clamp(min=0) * (0.5 ** (k - 1) / step)
    return 1 - crowding * (1 / 1.75)


def lit(surfaces: Surface, solid: Tensor, point: Vector, toward: Vector, softness: float) -> Tensor:
    """How much of a lamp in direction ``toward`` points (n,) see, 0 ... 1, with a penumbra.

    Args:
        solid: (n,) int64, the row of the surface that may stand in the way.
        softness: the lamp's angular radius in radians.
    """
    near, far = clip_to_sphere(point, toward, 1.25)
    rays = Rays(solid, point, toward, near.clamp(min=0.04), far)
    light, depth = torch.ones_like(near), rays.near.clone()
    rows = (far > rays.near).nonzero()[:, 0]
    for steps in _SHADOW:
        ray, d, seen = rays[rows], depth[rows], light[rows]
        surface = surfaces[ray.solid]
        for _ in range(steps):
            gap = surface.distance(ray.at(d))
            seen = torch.minimum(seen, torch.where(d < ray.far, gap / (d * softness), 1.0))
            d = d + gap.clamp(min=0.05)
        light[rows], depth[rows] = seen, d
        rows = rows[(seen > -1) & (d < ray.far)]
        if not len(rows):
            break
    return ramp(light, -1, 1)
