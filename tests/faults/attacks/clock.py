"""Clocks that jump forwards and backwards while a run trains: nothing but measured times changes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from forked import equissl
from training import Reference, check_finished, pretrain_words, reference

COUNT = 10


def prepare(folder: Path) -> Reference:
    return reference(folder)


def jumping(seed: int) -> Callable[[], None]:
    """Let the system's clock jump by up to a month at every tenth look; the monotonic clock stands still."""

    def before() -> None:
        draw = random.Random(seed)
        offset, real, stopped = 0.0, time.time, time.monotonic()

        def now() -> float:
            nonlocal offset
            if draw.random() < 0.1:
                offset = draw.uniform(-3e6, 3e6)
            return real() + offset

        time.time = now
        time.time_ns = lambda: int(now() * 1e9)
        time.monotonic = time.perf_counter = lambda: stopped

    return before


def attempt(reference: Reference, folder: Path, draw: random.Random, number: int) -> str:
    out = folder / "run"
    done = equissl(pretrain_words(reference.photos, out), folder, jumping(number))
    return check_finished(reference, done, out, folder)
