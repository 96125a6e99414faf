"""Built-in procedural meshes of ten classes, made of boxes and truncated cones."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch

from equissl.random import Stream
from equissl.render.blender.meshes import Mesh
from equissl.render.solids.vectors import color
from equissl.storage import write_text

Face: TypeAlias = tuple[int, ...]
Point: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True)
class Part:
    """A convex piece: a box, or a (cut) cone along an axis, with a centre, sizes and a paint."""

    shape: Callable[[], tuple[list[Point], list[Face]]]
    size: Point
    at: Point
    paint: int = 0


def box() -> tuple[list[Point], list[Face]]:
    """The unit cube around the origin."""
    points = [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
    return points, [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]


def turned(
    bottom: float = 1.0, top: float = 1.0, axis: int = 1, sides: int = 32
) -> Callable[[], tuple[list[Point], list[Face]]]:
    """A cylinder or cone of height 1 and diameter 1, scaled at both ends; ``axis`` 0, 1 (up) or 2."""

    def make() -> tuple[list[Point], list[Face]]:
        points: list[Point] = []
        for end, radius in ((-0.5, bottom / 2), (0.5, top / 2)):
            for k in range(sides):
                angle = math.pi * (2 * k + 1) / sides
                across = [radius * math.cos(angle), radius * math.sin(angle)]
                across.insert(axis, end)
                points.append((across[0], across[1], across[2]))
        faces: list[Face] = [(k, (k + 1) % sides, sides + (k + 1) % sides, sides + k) for k in range(sides)]
        return points, [*faces, tuple(range(sides - 1, -1, -1)), tuple(range(sides, 2 * sides))]

    return make


def _chair(a: float, b: float, c: float, d: float) -> list[Part]:
    wide, seat, back = 0.8 + 0.4 * a, 0.7 + 0.4 * b, 0.8 + 0.5 * c
    legs = [
        Part(box, (0.1, seat, 0.1), (x * (wide / 2 - 0.05), -seat / 2, z * 0.42), 1)
        for x in (-1, 1)
        for z in (-1, 1)
    ]
    arm = Part(box, (0.1, 0.1, 0.9), (wide / 2, 0.35, 0), 1)
    return [
        Part(box, (wide, 0.12, 0.95), (0, 0, 0)),
        Part(box, (wide, back, 0.1), (0, back / 2, -0.45), 2),
        *legs,
    ] + ([arm] if d > 0.5 else [])


def _table(a: float, b: float, c: float, d: float) -> list[Part]:
    wide, deep, high = 1.4 + 0.6 * a, 0.7 + 0.3 * b, 0.7 + 0.4 * c
    legs = [
        Part(box, (0.12, high, 0.12), (x * (wide / 2 - 0.1), -high / 2, z * (deep / 2 - 0.1)), 1)
        for x in (-1, 1)
        for z in (-1, 1)
    ]
    drawer = Part(box, (0.4 + 0.2 * d, 0.25, deep * 0.9), (wide / 2 - 0.35, -0.15, 0), 2)
    return [Part(box, (wide, 0.1, deep), (0, 0, 0)), drawer, *legs]


def _mug(a: float, b: float, c: float, d: float) -> list[Part]:
    wide, high = 0.7 + 0.4 * a, 0.8 + 0.5 * b
    grip = [Part(box, (0.3, 0.1, 0.1), (wide / 2 + 0.12, y * high * 0.3, 0), 1) for y in (-1, 1)]
    return [
        Part(turned(0.7 + 0.3 * c, 1), (wide, high, wide), (0, 0, 0)),
        Part(turned(), (wide * 0.8, 0.02, wide * 0.8), (0, high / 2 + 0.01, 0), 2),
        Part(box, (0.1, high * 0.7, 0.1), (wide / 2 + 0.25, 0, 0), 1),
        *grip,
    ]


def _lamp(a: float, b: float, c: float, d: float) -> list[Part]:
    high, reach = 1.2 + 0.6 * a, 0.4 + 0.4 * b
    return [
        Part(turned(), (0.7, 0.1, 0.7), (0, 0, 0)),
        Part(turned(), (0.1, high, 0.1), (0, high / 2, 0), 1),
        Part(box, (reach, 0.08, 0.08), (reach / 2, high, 0), 1),
        Part(turned(1, 0.4 + 0.4 * c), (0.5 + 0.2 * d, 0.4, 0.5 + 0.2 * d), (reach, high - 0.1, 0), 2),
    ]


def _stairs(a: float, b: float, c: float, d: float) -> list[Part]:
    steps, deep = 3 + int(3 * a), 0.6 + 0.5 * b
    rise, run = 0.25 + 0.1 * c, 0.3 + 0.1 * d
    return [
        Part(box, (run, rise * (k + 1), deep), (run * k, rise * (k + 1) / 2, 0), k % 2) for k in range(steps)
    ]


def _rocket(a: float, b: float, c: float, d: float) -> list[Part]:
    high, wide = 1.4 + 0.8 * a, 0.5 + 0.2 * b
    fin = 0.3 + 0.2 * c
    return [
        Part(turned(), (wide, high, wide), (0, 0, 0)),
        Part(turned(1, 0), (wide, 0.4 + 0.4 * d, wide), (0, high / 2 + 0.2 + 0.2 * d, 0), 1),
        Part(box, (fin, 0.4, 0.06), (wide / 2 + fin / 2, -high / 2 + 0.2, 0), 2),
        Part(box, (0.06, 0.4, fin), (0, -high / 2 + 0.2, wide / 2 + fin / 2), 1),
    ]


def _hammer(a: float, b: float, c: float, d: float) -> list[Part]:
    long, head = 1.4 + 0.6 * a, 0.7 + 0.3 * b
    return [
        Part(turned(), (0.14, long, 0.14), (0, 0, 0)),
        Part(box, (head, 0.28, 0.28), (0.1 + 0.1 * c, long / 2, 0), 1),
        Part(turned(1, 0.3, axis=0), (0.35 + 0.2 * d, 0.28, 0.28), (-head / 2, long / 2, 0), 2),
    ]


def _car(a: float, b: float, c: float, d: float) -> list[Part]:
    long, wide, cabin = 1.6 + 0.5 * a, 0.7 + 0.2 * b, 0.6 + 0.4 * c
    wheels = [
        Part(turned(axis=2), (0.38, 0.38, 0.15), (x * long * 0.3, -0.2, z * wide / 2), 2)
        for x in (-1, 1)
        for z in (-1, 1)
    ]
    top = Part(box, (cabin, 0.35, wide * 0.9), ((d - 0.7) * 0.5, 0.35, 0), 1)
    return [Part(box, (long, 0.35, wide), (0, 0, 0)), top, *wheels]


def _house(a: float, b: float, c: float, d: float) -> list[Part]:
    wide, high, deep = 0.9 + 0.4 * a, 0.7 + 0.3 * b, 0.8 + 0.5 * c
    return [
        Part(box, (wide, high, deep), (0, 0, 0)),
        Part(turned(math.sqrt(2), 0, sides=4), (wide * 1.1, 0.5, deep * 1.1), (0, high / 2 + 0.25, 0), 1),
        Part(box, (0.15, 0.6, 0.15), (wide * 0.3, high / 2 + 0.3, (d - 0.5) * deep * 0.5), 2),
        Part(box, (0.2, 0.4, 0.04), ((d - 0.5) * 0.3, -high / 2 + 0.2, deep / 2), 2),
    ]


def _arrow(a: float, b: float, c: float, d: float) -> list[Part]:
    long, thick = 1.1 + 0.5 * a, 0.2 + 0.15 * b
    return [
        Part(box, (long, thick, thick), (0, 0, 0)),
        Part(turned(1, 0, axis=0), (0.5 + 0.2 * c, thick * 2.6, thick * 2.6), (long / 2 + 0.25, 0, 0), 1),
        Part(box, (0.3, 0.5 + 0.3 * d, 0.06), (-long / 2, 0.2, 0), 2),
    ]


BUILT_IN: dict[str, Callable[[float, float, float, float], list[Part]]] = {
    "arrow": _arrow,
    "car": _car,
    "chair": _chair,
    "hammer": _hammer,
    "house": _house,
    "lamp": _lamp,
    "mug": _mug,
    "rocket": _rocket,
    "stairs": _stairs,
    "table": _table,
}


def built_in_meshes(count: int) -> list[Mesh]:
    """``count`` built-in meshes, class by class in turn.

    >>> [mesh.owner for mesh in built_in_meshes(2)]
    ['arrow/00000', 'car/00000']
    """
    kinds = sorted(BUILT_IN)
    return [Mesh(kinds[k % len(kinds)], f"{k // len(kinds):05d}") for k in range(count)]


def write_built_in(mesh: Mesh, folder: Path, seed: int) -> Path:
    """Write a built-in mesh as ``.obj`` with materials, y up; a function of (seed, class, name)."""
    stream = Stream.of(torch.zeros(1, dtype=torch.int64), seed, "mesh", mesh.kind, mesh.name)
    a, b, c, d = stream.uniform("sizes", 4)[0].tolist()
    materials, lines, count = [], ["mtllib mesh.mtl"], 1
    paints = stream.uniform("paint", 9)[0].view(3, 3)
    for number, (hue, saturation, value) in enumerate(paints.unbind()):
        channels = color(hue, 0.3 + 0.6 * saturation, 0.3 + 0.6 * value)
        rgb = " ".join(f"{float(v):.4f}" for v in channels)
        materials += [f"newmtl paint{number}", f"Kd {rgb}", "Ks 0.1 0.1 0.1", "Ns 50"]
    for part in BUILT_IN[mesh.kind](a, b, c, d):
        points, faces = part.shape()
        placed = [[p * s + t for p, s, t in zip(point, part.size, part.at, strict=True)] for point in points]
        lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in placed]
        lines.append(f"usemtl paint{part.paint}")
        lines += ["f " + " ".join(str(count + i) for i in face) for face in faces]
        count += len(points)
    write_text(folder / "mesh.mtl", "\n".join(materials) + "\n")
    write_text(folder / "mesh.obj", "\n".join(lines) + "\n")
    return folder / "mesh.obj"
