"""Rendering of solids: ray-marched images, a pure function of the solids and the scene factors."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.errors import UserError
from equissl.params import Params
from equissl.progress import Progress, no_progress
from equissl.render.solids import camera
from equissl.render.solids.objects import Objects
from equissl.render.solids.raymarching import Rays, clip_to_sphere, march
from equissl.render.solids.scene import Studio
from equissl.render.solids.shading import Scene, make_scene, shade_floor, shade_solid
from equissl.render.solids.shapes import SHAPES
from equissl.render.solids.vectors import Vector, map_components
from equissl.threads import one_thread

_CORNERS = ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75))  # rays through a pixel
_CHUNK_SIZE = {"cpu": 1 << 15, "cuda": 1 << 18}  # pixels rendered at once, to bound the memory


def render(
    objects: Objects, params: Params, size: int, studio: Studio = Studio(), progress: Progress = no_progress
) -> Tensor:
    """Images of solids, one per row of ``objects`` and ``params``: uint8 (B, 3, size, size).

    An image does not depend on the others in the batch. Solids are rendered with four rays per pixel, the
    floor with one; on a CPU rendering takes one thread and below 100 MB besides the images.

    Raises:
        UserError: ``size`` is below 8 pixels.
    """
    if size < 8:
        raise UserError(f"images must be at least 8 pixels wide, got {size}")
    if len(objects) != len(params):
        raise ValueError(f"{len(objects)} objects but {len(params)} scenes")
    device = objects.kind.device
    chunk_size = _CHUNK_SIZE.get(device.type, 1 << 16)
    images = torch.empty(len(objects), 3, size * size, dtype=torch.uint8, device=device)
    tiles = torch.split(torch.arange(size * size, device=device), chunk_size)
    batches = [
        (shape, rows)
        for number, shape in enumerate(SHAPES)
        for rows in torch.split((objects.kind == number).nonzero()[:, 0], max(1, chunk_size // size**2))
        if len(rows)
    ]
    done = 0
    with one_thread():
        for shape, rows in batches:
            scene = make_scene(shape, objects[rows], params[rows])
            images[rows] = torch.cat([_tile(scene, size, pixels, studio) for pixels in tiles], 2)
            done += len(rows)
            progress("rendering images", done, len(objects))
    return images.reshape(-1, 3, size, size)


def _tile(scene: Scene, size: int, pixels: Tensor, studio: Studio) -> Tensor:
    """Pixels (n,) of every scene: uint8 (P, 3, n)."""
    floor = scene.column().rotated(*camera.floor_points(studio, size, pixels))
    canvas = shade_floor(scene, floor, studio)
    _add_solids(canvas, scene, size, pixels, studio)
    return torch.stack([(c * 255 + 0.5).to(torch.uint8) for c in canvas], 1)


def _add_solids(canvas: Vector, scene: Scene, size: int, pixels: Tensor, studio: Studio) -> None:
    """Render the solids over the floor ``canvas`` (P, n), in the pixels that a solid can cover."""
    eye = camera.position(studio, pixels.device)
    views = [camera.directions(studio, size, pixels, *corner) for corner in _CORNERS]
    bounds = [clip_to_sphere(eye, v, 1.0) for v in views]
    inside = torch.stack([far > near for near, far in bounds]).any(0).nonzero()[:, 0]
    if not len(inside):
        return
    near, far = (torch.cat([b[k][inside] for b in bounds]) for k in (0, 1))
    x, y, z = (torch.cat([v[k][inside] for v in views]) for k in (0, 1, 2))
    rays = _rays(scene, eye, (x, y, z), near, far)
    depth, is_hit = march(scene.surface, rays)
    hits = is_hit.nonzero()[:, 0]
    hit_rays = rays[hits]
    colors = shade_solid(scene[hit_rays.solid], hit_rays.at(depth[hits]), hit_rays.direction, studio)
    shape = (len(scene.paint_start), len(_CORNERS), len(inside))
    cover = _mean(is_hit.float().reshape(shape))
    for screen, value in zip(canvas, colors, strict=True):
        layer = torch.zeros_like(depth)
        layer[hits] = value
        screen[:, inside] = screen[:, inside] * (1 - cover) + _mean(layer.reshape(shape))


def _rays(scene: Scene, eye: Vector, direction: Vector, near: Tensor, far: Tensor) -> Rays:
    """Every ray of the camera (m,) towards every solid: P * m rays in the solids' frames."""
    count, m = len(scene.paint_start), len(near)
    column = scene.column()
    return Rays(
        torch.arange(count, device=near.device).repeat_interleave(m),
        map_components(lambda c: c.expand(count, m).flatten(), column.rotated(*eye)),
        map_components(Tensor.flatten, column.rotated(*direction)),
        near.repeat(count),
        far.repeat(count),
    )


def _mean(layer: Tensor) -> Tensor:
    """Over the rays of a pixel: (P, 4, n) -> (P, n)."""
    a, b, c, d = layer.unbind(1)
    return (a + b + c + d) * 0.25
