"""Shading: the colour of a point under the sky, the floor's reflection and the lamp."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.params import Params
from equissl.render.solids.objects import Objects
from equissl.render.solids.raymarching import KNOB_RADIUS, Surface, ambient_visibility, normal, soft_shadow
from equissl.render.solids.scene import Studio, light_direction
from equissl.render.solids.shapes import Shape
from equissl.render.solids.vectors import (
    Vector,
    add,
    color,
    dot,
    length,
    map_components,
    mix,
    multiply,
    normalize,
    ray_point,
    rotation,
    scale,
    smoothstep,
    subtract,
)

_SOFTNESS = 0.1  # the lamp's angular radius in radians
_SPECULAR = 0.12


@dataclass(frozen=True)
class Scene:
    """Surface, light and colours of a scene; vectors are in the solid's own frame.

    Its tensors are (P,), one entry per image; ``column`` makes them (P, 1), so that they meet points of
    shape (P, n), and rows of it make one entry per point.

    Args:
        axes: the world's x, y and z directions.
        lamp: unit direction of the lamp.
        paint: unit direction of the painted side.
        paint_start: distance along it at which the paint begins.
    """

    surface: Surface
    axes: tuple[Vector, Vector, Vector]
    lamp: Vector
    lamp_color: Vector
    floor_color: Vector
    body_color: Vector
    paint_color: Vector
    paint: Vector
    paint_start: Tensor

    def __getitem__(self, rows: Tensor) -> Scene:
        return self._mapped(lambda c: c[rows])

    def column(self) -> Scene:
        return self._mapped(lambda c: c[:, None])

    def _mapped(self, f: Callable[[Tensor], Tensor]) -> Scene:
        x, y, z = self.axes
        return Scene(
            self.surface.mapped(f),
            (map_components(f, x), map_components(f, y), map_components(f, z)),
            map_components(f, self.lamp),
            map_components(f, self.lamp_color),
            map_components(f, self.floor_color),
            map_components(f, self.body_color),
            map_components(f, self.paint_color),
            map_components(f, self.paint),
            f(self.paint_start),
        )

    def rotated(self, x: Tensor | float, y: Tensor | float, z: Tensor | float) -> Vector:
        """A vector of the world's frame in the solid's frame."""
        a, b, c = self.axes
        return ray_point(ray_point(map_components(lambda u: u * x, a), b, y), c, z)


def make_scene(shape: Shape, objects: Objects, params: Params) -> Scene:
    """The scenes of images (B,) whose solids are all of one shape."""
    axes = rotation(params.values["pose"])
    x, y, z = light_direction(params).unbind(1)
    hue, saturation, value = objects.body.unbind(1)
    a, b, c, start = objects.paint.unbind(1)
    scene = Scene(
        objects.surface(shape),
        axes,
        lamp=(x, y, z),
        lamp_color=_linear(color(params.values["light_hue"][:, 0], 0.75, 1.0)),
        floor_color=_linear(color(params.values["floor_hue"][:, 0], 0.5, 0.85)),
        body_color=_linear(color(hue, saturation, value)),
        paint_color=_linear(color(hue, 0.12, torch.full_like(hue, 0.97))),
        paint=(a, b, c),
        paint_start=start,
    )
    return Scene(**{**vars(scene), "lamp": scene.rotated(x, y, z)})


def shade_floor(scene: Scene, point: Vector, studio: Studio) -> Vector:
    """Screen colours of points (P, n) of the floor, n for each of P scenes."""
    column = scene.column()
    up = column.axes[2]
    flat = map_components(Tensor.flatten, point)
    image = torch.arange(len(scene.paint_start), device=flat[0].device)
    image = image.repeat_interleave(point[0].shape[1])
    toward = _lamp_direction(column, point, studio)
    light = soft_shadow(scene.surface, image, flat, map_components(Tensor.flatten, toward), _SOFTNESS)
    beam = _beam(column, point, studio) * light.reshape(point[0].shape)
    sky = scale(
        _sky(column, up), (ambient_visibility(column.surface, point, up, 1.3) * 0.75 + 0.25) * studio.sky
    )
    lamp = scale(column.lamp_color, dot(up, toward).clamp(min=0) * beam)
    return _display(multiply(column.floor_color, add(sky, lamp)))


def shade_solid(scene: Scene, point: Vector, view: Vector, studio: Studio) -> Vector:
    """Screen colours of points (n,) of solids, one of each scene, for unit view directions ``view``."""
    facing = normal(scene.surface, point)
    toward = _lamp_direction(scene, point, studio)
    itself = torch.arange(len(facing[0]), device=facing[0].device)
    light = soft_shadow(scene.surface, itself, ray_point(point, facing, 0.01), toward, _SOFTNESS)
    beam = _beam(scene, point, studio) * light
    sky = scale(_sky(scene, facing), ambient_visibility(scene.surface, point, facing, 0.35) * studio.sky)
    lamp = scale(scene.lamp_color, dot(facing, toward).clamp(min=0) * beam)
    specular = dot(facing, normalize(subtract(toward, view))).clamp(min=0)
    for _ in range(5):  # to the 32nd power
        specular = specular * specular
    diffuse = multiply(_albedo(scene, point), add(sky, lamp))
    return _display(
        add(
            diffuse,
            scale(map_components(lambda c: (c + 1) * 0.5, scene.lamp_color), specular * beam * _SPECULAR),
        )
    )


def _display(a: Vector) -> Vector:
    """Linear light to screen values in [0, 1]."""
    return map_components(lambda c: c.clamp(0, 1).sqrt(), a)


def _linear(a: Vector) -> Vector:
    return multiply(a, a)


def _lamp_direction(scene: Scene, point: Vector, studio: Studio) -> Vector:
    lamp = map_components(lambda c: c * studio.lamp_distance, scene.lamp)
    return normalize(subtract(lamp, point))


def _sky(scene: Scene, facing: Vector) -> Vector:
    """White light from above, light of the floor's color from below."""
    above = (dot(facing, scene.axes[2]) + 1) * 0.5
    ground = map_components(lambda c: c * 0.5, scene.floor_color)
    return ray_point(ground, map_components(lambda c: 1 - c, ground), above)


def _albedo(scene: Scene, point: Vector) -> Vector:
    paint = smoothstep(dot(point, scene.paint) - scene.paint_start, -0.012, 0.012)
    skin = mix(scene.body_color, scene.paint_color, paint)
    knob = length(*subtract(point, scene.surface.knob)) - KNOB_RADIUS
    dark = map_components(lambda c: c * 0.08, scene.body_color)
    return mix(dark, skin, smoothstep(knob, 0.008, 0.02))


def _beam(scene: Scene, point: Vector, studio: Studio) -> Tensor:
    """Intensity of the lamp in its cone, 0 outside, with a soft edge."""
    depth = dot(point, scene.lamp)
    off_axis = length(*ray_point(point, scene.lamp, -depth))
    radius = (studio.lamp_distance - depth) * math.tan(studio.lamp_cone)
    return (1 - smoothstep(off_axis / radius, 0.85, 1.15)) * studio.lamp
