"""Individual solids: dimensions, colours, and marks that make their pose identifiable.

Every solid has pale paint on one side and a dark knob on another, at about the same places on all solids, so
that its pose can be read from an image even if its shape is symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.random import Stream
from equissl.render.solids.raymarching import KNOB_RADIUS, Surface, normal
from equissl.render.solids.shapes import SHAPES, Shape
from equissl.render.solids.vectors import Vector, normalize, ray_point, take

_PAINT_SIDE = (0.66, 0.55, -0.51)
_KNOB_SIDE = (-0.78, 0.5, 0.25)


@dataclass(frozen=True)
class Objects:
    """A batch of solids, in their own frames, in units of the largest one's radius.

    Args:
        kind: (B,) int64, index into ``CLASS_NAMES``.
        dimensions: (B, 4) dimensions of the shape, padded with 0.
        knob: (B, 3) centre of the knob, on the surface of the body.
        paint: (B, 4) unit direction of the painted side, and the distance along it at which the paint begins.
        body: (B, 3) hue (turns), saturation and value of the unpainted side.
    """

    kind: Tensor
    dimensions: Tensor
    knob: Tensor
    paint: Tensor
    body: Tensor

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, rows: Tensor) -> Objects:
        return Objects(
            self.kind[rows], self.dimensions[rows], self.knob[rows], self.paint[rows], self.body[rows]
        )

    def to(self, device: torch.device | str) -> Objects:
        return Objects(*(v.to(device) for v in vars(self).values()))

    def surface(self, shape: Shape) -> Surface:
        """The surfaces of these solids, all of which are of the given shape."""
        dimensions = self.dimensions[:, : len(shape.ranges)].unbind(1)
        x, y, z = self.knob.unbind(1)
        return Surface(shape, dimensions, (x, y, z))


def make_objects(objects: Tensor, seed: int) -> Objects:
    """The solids with numbers ``objects`` (B,); number n is of class n modulo the number of classes.

    A solid is a function of (seed, number).
    """
    stream = Stream.of(objects, seed, "object")
    kind = objects % len(SHAPES)
    dimensions = _dimensions(stream, kind)
    direction = torch.stack(_toward(_PAINT_SIDE, stream.fork("paint")), 1)
    start = stream.uniform("paint start", 1, -0.2, 0.05)
    hue = stream.uniform("hue")
    saturation, value = stream.uniform("saturation", 1, 0.55, 0.8), stream.uniform("value", 1, 0.6, 0.85)
    return Objects(
        kind,
        dimensions,
        _knobs(kind, dimensions, _toward(_KNOB_SIDE, stream.fork("knob"))),
        torch.cat([direction, start], 1),
        torch.cat([hue, saturation, value], 1),
    )


def _dimensions(stream: Stream, kind: Tensor) -> Tensor:
    """Uniform in the shape's ranges, then scaled to the radius that leaves room for the knob: (B, 4)."""
    unit = stream.uniform("dimensions", 4)
    result = torch.zeros_like(unit)
    for number, shape in enumerate(SHAPES):
        rows = (kind == number).nonzero()[:, 0]
        lengths = [low + (high - low) * unit[rows, k] for k, (low, high) in enumerate(shape.ranges)]
        radius = shape.radius(tuple(lengths))
        for k, value in enumerate(lengths):
            result[rows, k] = value * ((1 - KNOB_RADIUS) / radius)
    return result


def _toward(side: tuple[float, float, float], stream: Stream) -> Vector:
    """Unit vectors within about ten degrees of ``side``."""
    jitter = stream.uniform("jitter", 3, -0.15, 0.15)
    return normalize((side[0] + jitter[:, 0], side[1] + jitter[:, 1], side[2] + jitter[:, 2]))


def _knobs(kind: Tensor, dimensions: Tensor, direction: Vector) -> Tensor:
    """The points of the surfaces nearest to points outside of them in ``direction``: (B, 3)."""
    result = torch.zeros(len(kind), 3, device=kind.device)
    far = torch.full_like(direction[0], 1e3)
    for number, shape in enumerate(SHAPES):
        rows = (kind == number).nonzero()[:, 0]
        away: Vector = (far[rows], far[rows], far[rows])  # a distant knob leaves the bare body
        body = Surface(shape, dimensions[rows, : len(shape.ranges)].unbind(1), away)
        point = take(direction, rows)
        for _ in range(12):
            point = ray_point(point, normal(body, point), -body.distance(point))
        result[rows] = torch.stack(point, 1)
    return result
