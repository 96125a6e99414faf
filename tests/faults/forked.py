"""Functions and command lines of equissl in forked child processes: no start-up time, real signals."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

TIMEOUT = 120.0  # seconds


@dataclass(frozen=True)
class Done:
    """How a child process ended.

    Args:
        code: exit code; negative: minus the signal that ended it.
        output: its standard output and error.
    """

    code: int
    output: str
    timed_out: bool = False

    def fault(self, *codes: int) -> str:
        """What is wrong with this end, in words; "" if its code is one of ``codes`` and nothing is raw."""
        last = " | ".join(self.output.strip().splitlines()[-4:])[-500:]
        if self.timed_out:
            return f"did not end; last words: {last}"
        for raw in ("Traceback (most recent", "fault of equissl"):
            if raw in self.output:
                return f"{raw!r} in the output: {last}"
        if self.code not in codes:
            return f"exit code {self.code}, expected one of {codes}: {last}"
        return "" if self.code == 0 or last else f"exit code {self.code} without a word"


class Child:
    """A forked process that calls a function and exits with what it returns.

    Args:
        function: returns an exit code; an exception gives 70 and a traceback.
        log: file for its standard output and error.
    """

    def __init__(self, function: Callable[[], int], log: Path) -> None:
        sys.stdout.flush()
        self.log = log
        self.pid = os.fork()
        if self.pid == 0:
            _run(function, log)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the process (not to its children)."""
        os.kill(self.pid, number)

    def wait(self, timeout: float = TIMEOUT) -> Done:
        """Wait for its end; after ``timeout`` seconds it and its children are killed."""
        end = time.monotonic() + timeout
        pause = 0.002
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return Done(os.waitstatus_to_exitcode(status), self.output())
            if time.monotonic() > end:
                os.killpg(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                return Done(-signal.SIGKILL, self.output(), timed_out=True)
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)

    def output(self) -> str:
        """What it has written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""


def _run(function: Callable[[], int], log: Path) -> None:
    code = 70
    try:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0), os.dup2(out, 1), os.dup2(out, 2)
        sys.stdin, sys.stdout, sys.stderr = map(_reopened, (0, 1, 2))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = function()
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush(), sys.stderr.flush()
        finally:
            os._exit(code)


def _reopened(number: int) -> TextIO:
    return os.fdopen(
        number, "w" if number else "r", encoding="utf-8", errors="backslashreplace", closefd=False
    )


def start(words: Sequence[str], folder: Path, before: Callable[[], object] | None = None) -> Child:
    """``equissl WORDS`` in a child process that works in ``folder``.

    Args:
        before: called in the child first, to set limits or hooks.
    """

    def function() -> int:
        from equissl.cli.main import main

        os.chdir(folder)
        if before is not None:
            before()
        return main(list(words))

    number = sum(1 for _ in folder.glob("*.log"))
    return Child(function, folder / f"{number}.log")


def equissl(
    words: Sequence[str], folder: Path, before: Callable[[], object] | None = None, timeout: float = TIMEOUT
) -> Done:
    """``start``, to its end."""
    return start(words, folder, before).wait(timeout)


def preload() -> None:
    """Import all that commands need, so that forked processes start at once; computes nothing."""
    import importlib
    import pkgutil

    import torch

    torch.set_num_threads(1)
    package = importlib.import_module("equissl")
    for module in pkgutil.walk_packages(package.__path__, "equissl."):
        if not module.name.startswith(("equissl.render.blender", "equissl.__main__")):
            importlib.import_module(module.name)
    for name in (
        "sklearn.linear_model",
        "torch.utils.tensorboard",
        "safetensors.torch",
        "pydantic",
        "PIL.Image",
    ):
        importlib.import_module(name)
