"""A disk that fills up during any command that writes: an end in words, no remains, a second try works.

A file system of its own where this user may mount one, otherwise a limit on the size of files.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forked import equissl
from training import pretrain_words, write_photos

COUNT = 60


@dataclass(frozen=True)
class Prepared:
    photos: Path
    run: Path  # interrupted in the middle
    finished: Path


def prepare(folder: Path) -> Prepared:
    photos = write_photos(folder / "photos", 48)
    run, finished = folder / "run", folder / "finished"
    for words, codes in (
        (pretrain_words(photos, run, "stop_after=3"), (130,)),
        (pretrain_words(photos, finished, "labels=folders"), (0,)),
        (["evaluate", str(finished), "device=cpu"], (0,)),
    ):
        if problem := equissl(words, folder).fault(*codes):
            raise RuntimeError(problem)
    return Prepared(photos, run, finished)


def commands(prepared: Prepared, disk: Path) -> list[tuple[list[str], Path | None]]:
    """Command lines that write to ``disk``, and the run folder each needs there."""
    data, small = f"data={prepared.photos}", ["size=16", "device=cpu"]
    run = str(disk / "run")
    return [
        (pretrain_words(prepared.photos, disk / "new"), None),
        (["resume", run], prepared.run),
        (["evaluate", run, "device=cpu"], prepared.finished),
        (["export", run, f"out={disk / 'export'}"], prepared.finished),
        (["embed", run, data, f"out={disk / 'a.npz'}", "device=cpu"], prepared.finished),
        (["embed", "timm/test_resnet", data, f"out={disk / 'a.csv'}", *small], None),
        (
            ["audit", "timm/test_resnet", data, "count=40", "factors=hue", f"out={disk / 'audit'}", *small],
            None,
        ),
        (["report", run, f"out={disk / 'report.html'}"], prepared.finished),
        (["check", data, f"views={disk / 'views.html'}"], None),
        (["render", "solids", f"out={disk / 'solids'}", "objects=3", "views=4", "size=32"], None),
    ]


def limited(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def attempt(prepared: Prepared, folder: Path, draw: random.Random, number: int) -> str:
    disk = folder / "disk"
    disk.mkdir()
    listed = commands(prepared, disk)
    words, needed = listed[number % len(listed)]
    mounted = (
        os.geteuid() == 0
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], capture_output=True
        ).returncode
        == 0
    )
    try:
        if needed is not None:
            shutil.copytree(needed, disk / "run")
        return _attempt(words, disk, folder, draw, mounted)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", disk], check=True)


def _attempt(words: list[str], disk: Path, folder: Path, draw: random.Random, mounted: bool) -> str:
    free = int(10 ** draw.uniform(0, 6.3))
    before = None if mounted else limited(free)
    if mounted:
        _fill(disk, free)
    found = {p for p in disk.rglob("*") if p.is_file()}
    done = equissl(words, folder, before)
    title = f"{words[0]} with {free} bytes free"
    if problem := done.fault(0, 2):
        return f"{title}: {problem}"
    left = [p.name for p in disk.rglob(".*") if p not in found and p.name != ".lock"]
    if left:
        return f"{title}: temporary files are left: {left[:4]}"
    if done.code == 0:
        return ""
    (disk / "filler").unlink(missing_ok=True)
    if words[0] == "pretrain" and (disk / "new" / "recipe.json").exists():
        words = ["resume", str(disk / "new")]
    problem = equissl(words, folder).fault(0)
    return f"{title}, again with a free disk: {problem}" if problem else ""


def _fill(disk: Path, free: int) -> None:
    space = shutil.disk_usage(disk).free
    with (disk / "filler").open("wb") as file:
        file.write(bytes(max(0, space - free)))
