"""Load the compiled library of a C file: the one in the wheel, otherwise one compiled at first use.

A wheel that was built with a C compiler carries the library in a folder beside the C file. Where there is
none, as in a source checkout, it is compiled (``native_compile.py``) and kept in the user's cache folder.

Loading a library runs its code, and a damaged one kills the process. So a file in the cache is loaded only if
it and its folder belong to this user, nobody else may write to them, and its content has the digest in its
name; a new one, and the wheel's, is loaded in another process first. Where the cache folder cannot be used,
the library is built for this process alone.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import stat
import sys
import tempfile
import warnings
from pathlib import Path

from equissl.augment.native_compile import BuildError, arguments, compile_library, compiler, packaged, run
from equissl.storage import WriteError, atomic_path

_TRY = "import ctypes, sys; getattr(ctypes.CDLL(sys.argv[1]), sys.argv[2])"


class _FolderError(Exception):
    """A folder in which no library can be kept or loaded, and why."""


def load(source: Path, function: str, instruction_set: str) -> ctypes.CDLL:
    """The library of a C file: from the wheel, from the cache, or compiled.

    Processes that build at the same time do not disturb each other.

    Args:
        function: a name that the library must define.
        instruction_set: of ``native_compile.instruction_sets()``.

    Raises:
        BuildError: there is no compiler, it fails, or the library cannot be loaded.
    """
    shipped = packaged(source, instruction_set)
    if shipped.is_file():
        try:
            _try_in_another_process(shipped, function)
            return ctypes.CDLL(str(shipped))
        except (OSError, _FolderError) as error:
            raise BuildError(f"{error}; reinstall equissl") from error
    command, given = compiler(), arguments(source, instruction_set)
    # A home folder may be shared by several machines.
    build = os.fsencode(f"{platform.machine()} {command} {given[:-2]}")
    stem = f"{source.stem}-{hashlib.sha256(source.read_bytes() + build).hexdigest()[:16]}"
    try:
        folder = _own_folder()
        return _cached(folder, stem) or _store(compile_library(command, given), folder, stem, function)
    except _FolderError as error:
        problem = str(error)
    try:
        with tempfile.TemporaryDirectory(prefix="equissl-") as temporary:
            library = _store(compile_library(command, given), Path(temporary), stem, function)
    except (OSError, _FolderError) as error:
        raise BuildError(f"{problem}; {error}") from error
    warnings.warn(
        f"{problem}. Compiled augmentations are built anew by every process, which takes seconds",
        stacklevel=2,
    )
    return library


def _own_folder() -> Path:
    """The cache folder, made if it is not there.

    Raises:
        _FolderError: it cannot be made, or others may write to it.
    """
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))
        base = base if base.is_absolute() else Path.home() / ".cache"  # relative ones are ignored, says XDG
        folder = base / "equissl" / "native"
        if not folder.is_absolute():
            raise _FolderError(f"the cache folder {folder} is not an absolute path; set HOME")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except RuntimeError as error:  # Path.home
        raise _FolderError("there is no home folder for the cache; set XDG_CACHE_HOME") from error
    except OSError as error:
        raise _FolderError(f"the cache folder cannot be used ({error}); set XDG_CACHE_HOME") from error
    if not _is_own(found):
        raise _FolderError(
            f"the cache folder {folder} belongs to another user or can be written to by others; "
            f"remove it, or chmod go-w it, or set XDG_CACHE_HOME"
        )
    return folder


def _is_own(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _cached(folder: Path, stem: str) -> ctypes.CDLL | None:
    """The library that is there, None if there is none; a damaged or foreign file is removed."""
    for path in sorted(folder.glob(f"{stem}-*.so")):
        try:
            found = path.lstat()
            whole = stat.S_ISREG(found.st_mode) and path.name == _file_name(stem, path.read_bytes())
            if whole and _is_own(found):
                return ctypes.CDLL(str(path))
            path.unlink(missing_ok=True)
        except FileNotFoundError:  # another process removed it
            continue
        except OSError as error:  # a mount that forbids execution, a file that cannot be read or removed
            raise _FolderError(f"the compiled library {path} cannot be loaded ({error})") from error
    return None


def _file_name(stem: str, content: bytes) -> str:
    return f"{stem}-{hashlib.sha256(content).hexdigest()[:32]}.so"


def _store(content: bytes, folder: Path, stem: str, function: str) -> ctypes.CDLL:
    path = folder / _file_name(stem, content)
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
            temporary.chmod(0o600)
            _try_in_another_process(temporary, function)
        return ctypes.CDLL(str(path))
    except (OSError, WriteError) as error:
        raise _FolderError(f"a compiled library cannot be kept in {folder} ({error})") from error


def _try_in_another_process(path: Path, function: str) -> None:
    if not sys.executable:  # an embedded interpreter
        return
    command = [sys.executable, "-I", "-S", "-c", _TRY, str(path), function]
    status, said = run(command, "the compiled library")
    if status:
        raise _FolderError(f"the compiled library {path} cannot be loaded ({said})")
