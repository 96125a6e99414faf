"""Hidden names for files and folders that are being written, and the removal of those left behind."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock"  # the file of ``equissl.locks``, which a killed process leaves too
_NUMBERS = itertools.count()
_NAME = re.compile(r"\..*\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-(?P<start>\d+)-\d+\.part")
_UNTOUCHED = 24 * 3600  # seconds after which a temporary file of another machine counts as left behind
_cleaned: set[str] = set()  # folders in which this process has looked for files left behind


@contextmanager
def temporary_sibling(path: Path) -> Iterator[Path]:
    """A free hidden path beside ``path``, for a file or a folder; what is there at the end is removed.

    Its name tells machine and process, so that what a killed process left behind is removed by the next one
    that writes into the folder, and nothing that a living process still needs.
    """
    clean(path.parent)
    temporary = path.with_name(f".{path.name[:40]}.{_tag()}.part")
    try:
        yield temporary
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def clean(folder: Path) -> None:
    """Remove what killed processes left in a folder, once per process."""
    if str(folder) in _cleaned:
        return
    _cleaned.add(str(folder))
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        named = _NAME.fullmatch(entry.name)
        if named is None or not _left_behind(named, entry):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            Path(entry.path).unlink(missing_ok=True)


def _left_behind(named: re.Match[str], entry: os.DirEntry[str]) -> bool:
    pid, start = int(named["pid"]), named["start"]
    if named["host"] == _host() and _start(pid) != "unknown":
        return _start(pid) != start
    try:
        touched = entry.stat(follow_symlinks=False).st_mtime
        now = _file_time(Path(entry.path).parent)
    except OSError:
        return False
    return now - touched > _UNTOUCHED


def _file_time(folder: Path) -> float:
    """Now, by the clock that the files of a folder are stamped with."""
    probe = folder / f".clock.{_tag()}.part"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()


@functools.cache
def _host() -> str:
    """This machine, and where processes have numbers of their own (a container), that container."""
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbers = ""
    return hashlib.blake2b(f"{socket.gethostname()} {numbers}".encode(), digest_size=4).hexdigest()


def _tag() -> str:
    start = _start(os.getpid())
    return f"{_host()}-{os.getpid()}-{start if start.isdigit() else 0}-{next(_NUMBERS)}"


def _start(pid: int) -> str:
    """When a process began, in clock ticks: "ended" if there is none, "unknown" where that is unknown."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return "ended" if state in "ZX" else fields[18]
    except (FileNotFoundError, ProcessLookupError):
        known = Path("/proc/self/stat").exists()
    except (OSError, IndexError, ValueError):
        return "unknown"
    if known:
        return "ended"
    if os.name != "posix":  # os.kill would end it
        return "unknown"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "ended"
    except OSError:
        return "unknown"
    return "unknown"
