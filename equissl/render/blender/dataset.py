"""Rendering a dataset in 3DIEBench's layout with Blender: sharded and resumable.

Existing images are kept and missing ones rendered; an image is a function of its mesh and (seed, class,
object, view), so it depends neither on the order nor on the number of processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from equissl.errors import UserError
from equissl.locks import folder_lock
from equissl.progress import Progress, no_progress, seconds_since
from equissl.render.blender.built_in import write_built_in
from equissl.render.blender.latents import Latents
from equissl.render.blender.meshes import Mesh
from equissl.render.blender.process import Blender, BlenderOptions, RenderFailed, RenderSettings
from equissl.storage import atomic_open, make_folder, read_object, write_json
from equissl.tables import append_csv, read_csv

_SETTINGS = "3diebench.json"
_JPEG_QUALITY = 95  # OpenCV's default, as in the original


@dataclass(frozen=True)
class RenderResult:
    """Statistics of a ``render`` call.

    Args:
        images: number of images rendered by this call.
        seconds: wall time.
        processor_seconds: CPU time of Blender, summed over cores.
        failed: number of objects that failed, in this or an earlier call.
    """

    images: int
    seconds: float
    processor_seconds: float
    failed: int


def render(
    meshes: Sequence[Mesh],
    out: Path,
    views: int,
    *,
    latents: Latents = Latents(),
    settings: RenderSettings = RenderSettings(),
    options: BlenderOptions = BlenderOptions(),
    shard: tuple[int, int] = (0, 1),
    progress: Progress = no_progress,
) -> RenderResult:
    """Render the missing files of ``<out>/<class>/<object>/image_<view>.jpg`` and ``latent_<view>.npy``.

    Objects that fail are listed in ``failures-<shard>.csv`` and skipped, also by later calls; delete the file
    to retry them.

    Args:
        shard: (k, n): the k-th of n parts of the objects, by a hash of the name.

    Raises:
        UserError: ``out`` has other settings, or Blender cannot be started.
    """
    k, n = shard
    if not 0 <= k < n:
        raise UserError(f"shard={k}/{n} must be k/n with 0 <= k < n")
    if views < 1:
        raise UserError(f"views must be at least 1, got {views}")
    make_folder(out)
    _check_settings(out, {**asdict(latents), **asdict(settings)})
    failures = out / f"failures-{k}-of-{n}.csv"
    failed_objects = {owner for owner, _ in read_failures(out)}
    mine = [m for m in meshes if _hash(m.owner) % n == k]
    start, cpu_start = time.perf_counter(), _processor_seconds()
    images = 0
    with (
        folder_lock(out, f".shard-{k}-of-{n}.lock"),
        tempfile.TemporaryDirectory() as scratch,
        Blender(settings, options) as blender,
    ):
        for number, mesh in enumerate(mine):
            missing = [v for v in range(views) if not _complete(out / mesh.owner, v)]
            if missing and mesh.owner not in failed_objects:
                try:
                    images += _object(blender, mesh, missing, out, Path(scratch), latents, settings)
                except RenderFailed as failure:
                    append_csv(failures, ["object", "reason"], [mesh.owner, str(failure)])
                    failed_objects.add(mesh.owner)
            progress("rendering objects", number + 1, len(mine))
    num_failed = len(failed_objects & {m.owner for m in mine})
    return RenderResult(images, seconds_since(start), _processor_seconds() - cpu_start, num_failed)


def read_failures(out: Path) -> list[tuple[str, str]]:
    """(object, reason) of all failed objects, of all shards."""
    rows: list[tuple[str, str]] = []
    for path in sorted(out.glob("failures-*.csv")):
        rows += [(row[0], row[1]) for row in read_csv(path)[1:] if len(row) == 2]
    return rows


def _object(
    blender: Blender,
    mesh: Mesh,
    missing: list[int],
    out: Path,
    scratch: Path,
    latents: Latents,
    settings: RenderSettings,
) -> int:
    """Render the missing views of one object; returns how many."""
    path = mesh.path or write_built_in(mesh, scratch / "mesh", latents.seed)
    sampled = latents.sample(mesh.kind, mesh.name, torch.tensor(missing)).numpy()
    numbers = dict(zip(missing, sampled, strict=True))
    folder = out / mesh.owner
    views = [{"view": v, "latents": numbers[v].tolist(), "png": str(scratch / f"{v}.png")} for v in missing]

    def keep(answer: dict[str, Any]) -> None:
        view, png = int(answer["view"]), Path(answer["png"])
        _save(png, folder, view, numbers[view], settings)
        png.unlink()

    blender.render({"mesh": str(path.absolute()), "normalised": mesh.normalised, "views": views}, keep)
    return len(missing)


def _save(
    png: Path, folder: Path, view: int, latents: np.ndarray[Any, Any], settings: RenderSettings
) -> None:
    """Writes the latents first, so that an image has latents."""
    with atomic_open(folder / f"latent_{view}.npy", "wb") as file:
        np.save(file, latents)
    with Image.open(png) as image:
        pixels = np.asarray(image.convert("RGB"))
    pixels = pixels[..., ::-1] if settings.channels == "bgr" else pixels
    with atomic_open(folder / f"image_{view}.jpg", "wb") as file:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=_JPEG_QUALITY)


def _complete(folder: Path, view: int) -> bool:
    return (folder / f"image_{view}.jpg").exists() and (folder / f"latent_{view}.npy").exists()


def _check_settings(out: Path, settings: dict[str, Any]) -> None:
    path, new = out / _SETTINGS, json.loads(json.dumps(settings))
    if not path.exists():
        write_json(path, new)
        return
    old = read_object(path)
    changed = sorted(k for k in new if old.get(k) != new[k])
    if changed:
        differences = ", ".join(f"{k}: {old.get(k)!r} there, {new[k]!r} now" for k in changed)
        raise UserError(f"out={str(out)!r} has other settings ({differences}). Choose another folder")


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _processor_seconds() -> float:
    """CPU time of ended child processes, 0 on Windows; the worker has ended before this is called."""
    used = os.times()
    return float(used.children_user + used.children_system)
