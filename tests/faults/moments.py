"""Moments at which a process is stopped: after a time, at a file operation, or inside a write."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forked import Child

WRITES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "shutil.rmtree")


@dataclass(frozen=True)
class Moment:
    """When and how a process is stopped.

    Args:
        title: for messages.
        before: what the process does to itself at its start.
        seconds: the signal comes from outside after this time; None: it sends it itself.
    """

    title: str
    before: Callable[[], object]
    seconds: float | None = None

    def strike(self, child: Child, number: int) -> None:
        """Send the signal from outside, if it comes from there."""
        if self.seconds is not None:
            time.sleep(self.seconds)
            child.kill(number)


def nothing() -> None:
    """Nothing to do at the start."""


def is_write(event: str, arguments: tuple[Any, ...], below: Path | None = None) -> bool:
    """Whether an audit event changes files, below a folder or anywhere."""
    if event not in WRITES or not arguments or not isinstance(arguments[0], str | bytes | os.PathLike):
        return False
    if event == "open":
        mode, flags = arguments[1], arguments[2]
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR)) if isinstance(flags, int) else "r" not in str(mode)
        if not writes:
            return False
    return below is None or os.path.abspath(os.fsdecode(arguments[0])).startswith(f"{below}{os.sep}")


def at_write(count: int, below: Path, number: int) -> Callable[[], None]:
    """Signal oneself at the file operation number ``count`` below a folder."""

    def before() -> None:
        seen = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            if is_write(event, arguments, below):
                seen += 1
                if seen == count:
                    os.kill(os.getpid(), number)

        sys.addaudithook(hook)

    return before


def count_writes(below: Path, into: Path) -> Callable[[], None]:
    """Keep a file at the number of file operations below a folder."""

    def before() -> None:
        file = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if is_write(event, arguments, below):
                os.write(file, b".")

        sys.addaudithook(hook)

    return before


def inside_write(size: int) -> Callable[[], None]:
    """Be killed by the system inside the first write that makes a file larger than ``size`` bytes."""

    def before() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return before


def random_moment(
    draw: random.Random, seconds: float, writes: int, bytes_: int, below: Path, number: int
) -> Moment:
    """A moment of a run of ``seconds`` and ``writes`` operations on files of up to ``bytes_``."""
    kind = draw.choice(("time", "operation", "size" if number == signal.SIGKILL else "operation"))
    if kind == "time":
        after = draw.uniform(0, seconds)
        return Moment(f"after {after:.3f} s", nothing, after)
    if kind == "operation":
        count = draw.randint(1, writes)
        return Moment(f"at file operation {count}", at_write(count, below, number))
    size = int(10 ** draw.uniform(1, max(1.0, len(str(bytes_)) - 0.5)))
    return Moment(f"inside a write beyond {size} bytes", inside_write(size))
