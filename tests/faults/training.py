"""A tiny pretraining run, its result, and what a killed run must equal in the end."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forked import Child, Done, equissl
from moments import count_writes

SETTINGS = (
    "encoder.name=test_resnet",
    "encoder.stem=timm",
    "encoder.options={}",
    "encoder.size=16",
    "data.size=16",
    "base.projector=16,8",
    "epochs=3",
    "batch_size=8",
    "save_every=2",
    "log_every=1",
    "monitor_every=2",
    "loggers=[]",
    "device=cpu",
    "seed=5",
    "precision=32-true",  # the trial of "auto" is of time, so that busy cores may decide otherwise
)
MEASURED = ("images_per_second", "seconds", "data_wait", "augment_fraction", "memory", "elapsed", "time")


def write_photos(folder: Path, count: int = 18) -> Path:
    """A folder of small images with two subfolders."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    for k in range(count):
        path = folder / ("cats" if k % 2 else "dogs") / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    return folder


def pretrain_words(photos: Path, out: Path, *more: str) -> list[str]:
    return ["pretrain", f"data={photos}", f"out={out}", *SETTINGS, *more]


def trained_runs(folder: Path) -> Path:
    """A folder with "photos", an evaluated "run" and a run that was "stopped" in the middle.

    Raises:
        RuntimeError: a command does not succeed.
    """
    work = folder / "work"
    work.mkdir()
    photos = write_photos(work / "photos")
    for words, code in (
        (pretrain_words(photos, work / "run", "labels=folders"), 0),
        (["evaluate", "run", "device=cpu"], 0),
        (pretrain_words(photos, work / "stopped", "stop_after=3"), 130),
    ):
        if problem := equissl(words, work).fault(code):
            raise RuntimeError(problem)
    return work


@dataclass(frozen=True)
class Reference:
    """An uninterrupted run: its digest, its time, and its file operations."""

    photos: Path
    digest: str
    seconds: float
    writes: int
    bytes: int


def reference(folder: Path) -> Reference:
    """Run the tiny pretraining once, without interruption.

    Raises:
        RuntimeError: it does not succeed.
    """
    photos = write_photos(folder / "photos")
    out, counted = folder / "reference", folder / "writes"
    began = time.monotonic()
    done = equissl(pretrain_words(photos, out), folder, count_writes(folder, counted))
    seconds = time.monotonic() - began
    if problem := done.fault(0):
        raise RuntimeError(f"the run without interruption fails: {problem}")
    largest = max(p.stat().st_size for p in out.rglob("*") if p.is_file())
    return Reference(photos, digest(out), seconds, counted.stat().st_size, largest)


def digest(run: Path) -> str:
    """Digest of a run's weights and of its logged numbers (not of measured times), made in a child."""
    into = run.parent / f"{run.name}.digest"

    def function() -> int:
        into.write_text(_digest(run), encoding="utf-8")
        return 0

    done = Child(function, run.parent / f"{run.name}.digest.log").wait()
    if done.code:
        raise RuntimeError(done.output)
    return into.read_text(encoding="utf-8")


def _digest(run: Path) -> str:
    import torch

    state = torch.load(run / "checkpoints" / "last.pt", map_location="cpu", weights_only=True)
    found = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(state["model"].items()):
        found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = [{k: v for k, v in row.items() if not k.startswith(MEASURED)} for row in rows]
    return f"weights {found.hexdigest()}, {len(rows)} rows {_hash(kept)}"


def _hash(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()


def go_on(reference: Reference, out: Path, folder: Path) -> Done:
    """What a user does with a run that was cut off: resume it, or start it if there is none."""
    words = ["resume", str(out)] if (out / "recipe.json").exists() else pretrain_words(reference.photos, out)
    return equissl(words, folder)


def check_finished(reference: Reference, done: Done, out: Path, folder: Path) -> str:
    """What is wrong with a run that was cut off and continued to its end; "" if nothing is."""
    if problem := done.fault(0):
        return problem
    found = digest(out)
    if found != reference.digest:
        return f"another result: {found}, without interruption {reference.digest}"
    left = [str(p.relative_to(folder)) for p in folder.rglob(".*") if p.name != ".lock"]
    return f"temporary files are left: {left[:4]}" if left else ""
