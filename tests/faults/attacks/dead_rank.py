"""One of two training processes dies: the other ends soon and in words, and a resume goes on exactly."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from forked import Done
from training import digest, pretrain_words, write_photos

COUNT = 10


@dataclass(frozen=True)
class Prepared:
    photos: Path
    digest: str
    seconds: float


def launch(words: list[str], folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    log = folder / f"{len(list(folder.glob('*.log')))}.log"
    with log.open("wb") as file:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "equissl", *words],
            stdout=file,
            stderr=file,
            env=environment,
            start_new_session=True,
        )
    return process, log


def wait(process: subprocess.Popen[bytes], log: Path, timeout: float = 180) -> Done:
    try:
        code, late = process.wait(timeout), False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        code, late = process.wait(), True
    return Done(code, log.read_text(encoding="utf-8", errors="replace"), late)


def prepare(folder: Path) -> Prepared:
    photos = write_photos(folder / "photos")
    began = time.monotonic()
    done = wait(*launch(pretrain_words(photos, folder / "reference", "devices=2"), folder))
    if problem := done.fault(0):
        raise RuntimeError(problem)
    return Prepared(photos, digest(folder / "reference"), time.monotonic() - began)


def ranks(parent: int) -> list[int]:
    """The process itself and its children."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    return [parent, *map(int, children.read_text(encoding="utf-8").split())] if children.exists() else []


def attempt(prepared: Prepared, folder: Path, draw: random.Random, number: int) -> str:
    out = folder / "run"
    process, log = launch(pretrain_words(prepared.photos, out, "devices=2"), folder)
    end = time.monotonic() + draw.uniform(0.3, 1.0) * prepared.seconds
    while len(ranks(process.pid)) < 2 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(max(0.0, end - time.monotonic()))
    alive = ranks(process.pid)
    victim = draw.choice(alive) if alive else 0
    if victim and process.poll() is None:
        os.kill(victim, signal.SIGKILL)
    done = wait(process, log)
    if process.poll() is not None and victim != process.pid and (problem := done.fault(0, 2, 130)):
        return f"the other rank died: {problem}"
    time.sleep(0.2)
    for pid in alive:
        if Path(f"/proc/{pid}").exists() and "equissl" in Path(f"/proc/{pid}/cmdline").read_text(
            errors="replace"
        ):
            deadline = time.monotonic() + 60
            while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)
                return f"process {pid} went on for a minute after its peer had died"
    begun = (out / "recipe.json").exists()
    words = ["resume", str(out), "devices=2"] if begun else pretrain_words(prepared.photos, out, "devices=2")
    if problem := wait(*launch(words, folder)).fault(0):
        return f"continued: {problem}"
    found = digest(out)
    return "" if found == prepared.digest else f"another result: {found}, expected {prepared.digest}"
