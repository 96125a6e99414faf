"""Ray marching: intersections of rays with surfaces, normals, ambient visibility and soft shadows.

Rays are flat and each has the index of its solid; rays are independent of each other. Marching takes most of
an image's time, so rays that have hit are removed every few steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.render.solids.shapes import Shape, smooth_minimum
from equissl.render.solids.vectors import (
    Vector,
    dot,
    length,
    map_components,
    normalize,
    ray_point,
    smoothstep,
    subtract,
    take,
)

KNOB_RADIUS = 0.12
_HIT_DISTANCE = 1.5e-3
_MIN_STEP = 8e-3  # so that rays that graze the surface get past it
_MARCH_STEPS = (5, 5, 6, 8, 12, 16)  # steps between removals of rays that have hit
_SHADOW_STEPS = (8, 8, 8, 16)


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
        return Surface(self.shape, tuple(f(d) for d in self.dimensions), map_components(f, self.knob))

    def distance(self, point: Vector) -> Tensor:
        """Signed distance (n,) from body and knob."""
        knob = length(*subtract(point, self.knob)) - KNOB_RADIUS
        return smooth_minimum(self.shape.distance(point, self.dimensions), knob, 0.05)


@dataclass(frozen=True)
class Rays:
    """Rays (n,) in the frames of their solids; ``near`` and ``far`` bound the depth.

    Args:
        solid: (n,) int64, the row of the ray's surface.
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
        return ray_point(self.origin, self.direction, depth)


def clip_to_sphere(origin: Vector, direction: Vector, radius: float) -> tuple[Tensor, Tensor]:
    """Depths at which rays enter and leave a sphere around the frame's origin; equal if they miss it."""
    middle = -dot(origin, direction)
    half = (radius * radius - dot(origin, origin) + middle * middle).clamp(min=0).sqrt()
    return middle - half, middle + half


def march(surfaces: Surface, rays: Rays) -> tuple[Tensor, Tensor]:
    """Depth (n,) of the intersection of each ray, and whether there is one, bool (n,)."""
    depth, gap = rays.near.clone(), torch.full_like(rays.near, torch.inf)
    rows = (rays.far > rays.near).nonzero()[:, 0]
    for steps in _MARCH_STEPS:
        ray, d, g = rays[rows], depth[rows], gap[rows]
        surface = surfaces[ray.solid]
        for _ in range(steps):
            g = surface.distance(ray.at(d))
            d = d + torch.where(g > _HIT_DISTANCE, g.clamp(min=_MIN_STEP), g)
        depth[rows], gap[rows] = d, g
        rows = rows[(g > _HIT_DISTANCE) & (d < ray.far)]
        if not len(rows):
            break
    return depth, (gap < 4 * _HIT_DISTANCE) & (depth < rays.far)


def normal(surface: Surface, point: Vector) -> Vector:
    """Unit outward direction at points of the surface, from four distances at a tetrahedron's corners."""
    e = 2e-3
    x, y, z = point
    a = surface.distance((x + e, y - e, z - e))
    b = surface.distance((x - e, y - e, z + e))
    c = surface.distance((x - e, y + e, z - e))
    d = surface.distance((x + e, y + e, z + e))
    return normalize((a - b - c + d, c - a - b + d, b - a - c + d))


def ambient_visibility(surface: Surface, point: Vector, direction: Vector, reach: float) -> Tensor:
    """1 - ambient occlusion by the solid along ``direction``, in [0, 1]."""
    occlusion = torch.zeros_like(point[0])
    for k in (1, 2, 3):
        step = reach * k / 3
        free = surface.distance(ray_point(point, direction, step)).clamp(min=0)
        occlusion = occlusion + (step - free).clamp(min=0) * (0.5 ** (k - 1) / step)
    return 1 - occlusion * (1 / 1.75)


def soft_shadow(surfaces: Surface, solid: Tensor, point: Vector, toward: Vector, softness: float) -> Tensor:
    """Visible fraction of a lamp in direction ``toward`` from points (n,), with a penumbra.

    Args:
        solid: (n,) int64, the row of the surface that casts the shadow.
        softness: the lamp's angular radius in radians.
    """
    near, far = clip_to_sphere(point, toward, 1.25)
    rays = Rays(solid, point, toward, near.clamp(min=0.04), far)
    light, depth = torch.ones_like(near), rays.near.clone()
    rows = (far > rays.near).nonzero()[:, 0]
    for steps in _SHADOW_STEPS:
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
    return smoothstep(light, -1, 1)
