"""A second process on a run folder that is in use: refused in words, and the first is not disturbed."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from forked import equissl, start
from training import Reference, check_finished, pretrain_words, reference

COUNT = 20


def prepare(folder: Path) -> Reference:
    return reference(folder)


def waiting(gate: Path) -> Callable[[], None]:
    """Let training wait at its third step until a file appears."""

    def before() -> None:
        from equissl.training import loop

        step, count = loop.training_step, 0

        def slow(*arguments: object, **options: object) -> object:
            nonlocal count
            count += 1
            if count == 3:
                gate.with_suffix(".waits").touch()
                while not gate.exists():
                    time.sleep(0.01)
            return step(*arguments, **options)

        loop.training_step = slow

    return before


def attempt(reference: Reference, folder: Path, draw: random.Random, number: int) -> str:
    out, gate = folder / "run", folder / "gate"
    first = start(pretrain_words(reference.photos, out), folder, waiting(gate))
    while not gate.with_suffix(".waits").exists():
        if os.waitpid(first.pid, os.WNOHANG)[0]:
            return f"the first process ended: {first.output()[-300:]}"
        time.sleep(0.01)
    verb = draw.choice(("resume", "pretrain"))
    words = ["resume", str(out)] if verb == "resume" else pretrain_words(reference.photos, out)
    second = equissl(words, folder)
    if draw.random() < 0.3:  # the lock ends with its process
        first.kill()
        first.wait()
        done = equissl(["resume", str(out)], folder)
    else:
        gate.touch()
        done = first.wait()
    return second.fault(2) or check_finished(reference, done, out, folder)
