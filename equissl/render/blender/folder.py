"""A folder of renders in 3DIEBench's layout, made by Blender: sharded, restartable, in any order.

Whatever is there is kept and whatever is missing is made; an image is a function of its object and
(seed, class, object, view), so neither the order nor the number of processes matters.
"""

from __future__ import annotations

import csv
import hashlib
import json
import resource
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
from equissl.progress import Progress, no_progress
from equissl.render.blender.built_in import write_built_in
from equissl.render.blender.latents import Latents
from equissl.render.blender.meshes import Mesh
from equissl.render.blender.process import Blender, Failed, Look, Machine
from equissl.storage import atomic_open, read_json, write_json

_SETTINGS = "3diebench.json"
_QUALITY = 95  # OpenCV's default, which the original's images were written with


@dataclass(frozen=True)
class Made:
    """What a call did.

    Args:
        images: rendered now.
        seconds: it took.
        processor_seconds: that Blender used of all cores together.
        failed: objects that were given up, now or before.
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
    look: Look = Look(),
    machine: Machine = Machine(),
    shard: tuple[int, int] = (0, 1),
    progress: Progress = no_progress,
) -> Made:
    """Render what is missing of ``<out>/<class>/<object>/image_<view>.jpg`` and ``latent_<view>.npy``.

    Objects that fail are listed in ``failures-<shard>.csv`` and left out, also by later calls; delete the
    file to try them again.

    Args:
        shard: (k, n): only every n-th object, from a hash of its name; other processes may do the others.

    Raises:
        UserError: ``out`` was made with other settings, or Blender cannot be started.
    """
    k, n = shard
    if not 0 <= k < n:
        raise UserError(f"shard={k}/{n} must be k/n with 0 <= k < n")
    if views < 1:
        raise UserError(f"views must be at least 1, got {views}")
    out.mkdir(parents=True, exist_ok=True)
    _check_settings(out, {**asdict(latents), **asdict(look)})
    failures = out / f"failures-{k}-of-{n}.csv"
    given_up = {owner for owner, _ in read_failures(out)}
    mine = [m for m in meshes if _hash(m.owner) % n == k]
    began, spent = time.monotonic(), _processor_seconds()
    images = 0
    with tempfile.TemporaryDirectory() as scratch, Blender(look, machine) as blender:
        for number, mesh in enumerate(mine):
            missing = [v for v in range(views) if not _complete(out / mesh.owner, v)]
            if missing and mesh.owner not in given_up:
                try:
                    images += _object(blender, mesh, missing, out, Path(scratch), latents, look)
                except Failed as failure:
                    _append(failures, mesh.owner, str(failure))
                    given_up.add(mesh.owner)
            progress("rendering objects", number + 1, len(mine))
    failed = len(given_up & {m.owner for m in mine})
    return Made(images, time.monotonic() - began, _processor_seconds() - spent, failed)


def read_failures(out: Path) -> list[tuple[str, str]]:
    """(object, reason) of everything that was given up, by any shard."""
    rows: list[tuple[str, str]] = []
    for path in sorted(out.glob("failures-*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            rows += [(row["object"], row["reason"]) for row in csv.DictReader(file)]
    return rows


def _object(
    blender: Blender, mesh: Mesh, missing: list[int], out: Path, scratch: Path, latents: Latents, look: Look
) -> int:
    """Render the missing views of one object; returns how many."""
    path = mesh.path or write_built_in(mesh, scratch / "mesh", latents.seed)
    drawn = latents.draw(mesh.kind, mesh.name, torch.tensor(missing)).numpy()
    numbers = dict(zip(missing, drawn, strict=True))
    folder = out / mesh.owner
    folder.mkdir(parents=True, exist_ok=True)
    views = [{"view": v, "latents": numbers[v].tolist(), "png": str(scratch / f"{v}.png")} for v in missing]

    def keep(answer: dict[str, Any]) -> None:
        view, png = int(answer["view"]), Path(answer["png"])
        _save(png, folder, view, numbers[view], look)
        png.unlink()

    blender.ask({"mesh": str(path.absolute()), "normalised": mesh.normalised, "views": views}, keep)
    return len(missing)


def _save(png: Path, folder: Path, view: int, latents: np.ndarray[Any, Any], look: Look) -> None:
    """The latents first: where there is an image, there is everything."""
    with atomic_open(folder / f"latent_{view}.npy", "wb") as file:
        np.save(file, latents)
    with Image.open(png) as image:
        pixels = np.asarray(image.convert("RGB"))
    pixels = pixels[..., ::-1] if look.channels == "bgr" else pixels
    with atomic_open(folder / f"image_{view}.jpg", "wb") as file:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=_QUALITY)


def _complete(folder: Path, view: int) -> bool:
    return (folder / f"image_{view}.jpg").exists() and (folder / f"latent_{view}.npy").exists()


def _check_settings(out: Path, settings: dict[str, Any]) -> None:
    path, wanted = out / _SETTINGS, json.loads(json.dumps(settings))
    if not path.exists():
        write_json(path, wanted)
        return
    found = read_json(path)
    changed = sorted(k for k in wanted if found.get(k) != wanted[k])
    if changed:
        told = ", ".join(f"{k}: {found.get(k)!r} there, {wanted[k]!r} now" for k in changed)
        raise UserError(f"out={str(out)!r} was begun with other settings ({told}); choose another folder")


def _append(path: Path, owner: str, reason: str) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([["object", "reason"]] * new + [[owner, reason]])


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _processor_seconds() -> float:
    """Of children that have ended; the worker ends before this is asked."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
