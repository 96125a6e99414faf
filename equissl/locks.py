"""One process at a time in a folder: a lock file that holds as long as its process lives."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from equissl.errors import UserError
from equissl.storage import make_folder, write_problem
from equissl.temporary import LOCK

fcntl: Any = importlib.import_module("fcntl") if importlib.util.find_spec("fcntl") else None  # not on Windows

_WAIT = 0.05  # seconds between two attempts
_held: dict[str, int] = {}  # lock file -> how often this process holds it


@contextmanager
def folder_lock(folder: Path, name: str = LOCK, wait: float = 0.0) -> Iterator[None]:
    """Hold a folder for this process; nested calls of one process hold it together.

    The operating system lets go of it when the process ends, however it ends. Where it has no such locks
    (Windows, some network file systems) a warning says so and nothing is held.

    Args:
        name: of the lock file in the folder; another one for other work that may go on at the same time.
        wait: seconds to wait for another process.

    Raises:
        UserError: another process holds it; the message names process and machine.
    """
    path = Path(os.path.realpath(make_folder(folder))) / name
    key = str(path)
    descriptor = None if key in _held else _acquire(path, folder, wait)
    _held[key] = _held.get(key, 0) + 1
    try:
        yield
    finally:
        _held[key] -= 1
        if not _held[key]:
            del _held[key]
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)


def _acquire(path: Path, folder: Path, wait: float) -> int | None:
    if fcntl is None:
        _warn(folder)
        return None
    deadline = time.monotonic() + wait
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise UserError(write_problem(error, path)) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_file(path, descriptor):  # else the one before removed it meanwhile
                _sign(descriptor)
                return descriptor
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(descriptor)
                _warn(folder)
                return None
            if time.monotonic() >= deadline:
                owner = _owner(descriptor)
                os.close(descriptor)
                raise UserError(
                    f"{str(folder)!r} is in use by {owner}: wait until it ends, or choose another folder"
                ) from None
        os.close(descriptor)
        time.sleep(_WAIT)


def _is_file(path: Path, descriptor: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    return False


def _sign(descriptor: int) -> None:
    facts = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(facts).encode(), 0)


def _owner(descriptor: int) -> str:
    try:
        facts = json.loads(os.pread(descriptor, 1000, 0))
        return f"process {int(facts['pid'])} on {facts['host']!r} since {facts['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _warn(folder: Path) -> None:
    warnings.warn(
        f"{str(folder)!r} cannot be locked on this system: let no second process work in it", stacklevel=4
    )
