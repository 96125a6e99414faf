"""SIGINT and SIGTERM at random moments: an end in words, and a resume that equals no interruption."""

from __future__ import annotations

import random
import signal
from pathlib import Path

from forked import start
from moments import random_moment
from training import Reference, check_finished, go_on, pretrain_words, reference

COUNT = 60


def prepare(folder: Path) -> Reference:
    return reference(folder)


def attempt(reference: Reference, folder: Path, draw: random.Random, number: int) -> str:
    out = folder / "run"
    which = draw.choice((signal.SIGINT, signal.SIGTERM))
    moment = random_moment(draw, reference.seconds, reference.writes, reference.bytes, folder, which)
    child = start(pretrain_words(reference.photos, out), folder, moment.before)
    moment.strike(child, which)
    if problem := child.wait().fault(0, 130, 143):
        return f"{which.name} {moment.title}: {problem}"
    problem = check_finished(reference, go_on(reference, out, folder), out, folder)
    return f"{which.name} {moment.title}, continued: {problem}" if problem else ""
