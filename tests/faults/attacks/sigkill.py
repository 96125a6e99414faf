"""SIGKILL at random moments of pretraining and resuming: the result equals that without interruption."""

from __future__ import annotations

import random
import signal
from pathlib import Path

from forked import start
from moments import random_moment
from training import Reference, check_finished, go_on, pretrain_words, reference

COUNT = 100
EACH = 2  # kills


def prepare(folder: Path) -> Reference:
    return reference(folder)


def attempt(reference: Reference, folder: Path, draw: random.Random, number: int) -> str:
    out = folder / "run"
    titles = []
    for _ in range(EACH):
        moment = random_moment(
            draw, reference.seconds, reference.writes, reference.bytes, folder, signal.SIGKILL
        )
        titles.append(moment.title)
        begun = (out / "recipe.json").exists()
        words = ["resume", str(out)] if begun else pretrain_words(reference.photos, out)
        child = start(words, folder, moment.before)
        moment.strike(child, signal.SIGKILL)
        done = child.wait()
        if done.code >= 0 and (problem := done.fault(0)):
            return f"killed {titles}: {problem}"
    problem = check_finished(reference, go_on(reference, out, folder), out, folder)
    return f"killed {titles}: {problem}" if problem else ""
