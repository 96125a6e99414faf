"""Limits for commands with random input: memory, time, network, and where files may be written."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from moments import is_write

MEMORY = 3 << 30  # bytes of address space beyond what the process has
TIMEOUT = 15.0  # seconds after which a command that still computes is stopped, which is no failure
FORBIDDEN = ("socket.connect", "os.system", "os.exec", "os.posix_spawn")


def confined(folder: Path) -> Callable[[], None]:
    """Let a process work in ``folder`` only: anything else is written to ``violations``."""

    def before() -> None:
        tempfile.tempdir = str(folder)
        os.environ.update(HOME=str(folder), XDG_CACHE_HOME=str(folder / "cache"), TMPDIR=str(folder))
        used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        violations = os.open(folder / "violations", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event in FORBIDDEN or _outside(event, arguments, folder):
                os.write(violations, f"{event} {arguments!r}"[:300].encode("utf-8", "replace") + b"\n")
                raise PermissionError(13, f"not allowed in this test: {event}")

        sys.addaudithook(hook)

    return before


def _outside(event: str, arguments: tuple[Any, ...], folder: Path) -> bool:
    if not is_write(event, arguments):
        return False
    path = os.path.abspath(os.fsdecode(arguments[0]))
    return not path.startswith((f"{folder}{os.sep}", "/dev/", "/proc/")) and path != str(folder)


def violations(folder: Path, words: Sequence[str] = ()) -> str:
    """What a confined process tried to do outside, but for paths named in ``words``; "" if nothing."""
    path = folder / "violations"
    asked = [repr(p) for w in words if len(p := w.rpartition("=")[2]) > 1 and p.startswith("/")]
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return "\n".join(line for line in lines if not any(p in line for p in asked))[:300]
