"""Compile a C file to a shared library that is kept in the user's cache folder, and load it.

Loading a library runs its code, and a damaged one kills the process. So a file is loaded only if it and its
folder belong to this user, nobody else may write to them, and its content has the digest in its name;
a new one is loaded in another process first. Where the cache folder cannot be used, the library is built for
this process alone.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

from equissl.storage import WriteError, atomic_path

_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
_TIMEOUT = 120.0  # seconds; it takes about two on an idle machine
_TRY = "import ctypes, sys; getattr(ctypes.CDLL(sys.argv[1]), sys.argv[2])"


class BuildError(Exception):
    """There is no library, for the reason given in words."""


class _FolderError(Exception):
    """A folder in which no library can be kept or loaded, and why."""


def load(source: Path, function: str) -> ctypes.CDLL:
    """The library of a C file, from the cache or compiled.

    The compiler is ``CC`` of the environment (a program, or a program with arguments), otherwise cc, gcc or
    clang. Processes that build at the same time do not disturb each other.

    Args:
        function: a name that the library must define.

    Raises:
        BuildError: there is no compiler, it fails, or what it makes cannot be loaded.
    """
    if os.name == "nt":
        raise BuildError("compiled augmentations are not supported on Windows")
    command = _command(source)
    # The binary uses this processor's instructions, and a home folder may be shared by several machines.
    machine = os.fsencode(f"{platform.machine()} {command[:-2]} {_processor()}")
    stem = f"{source.stem}-{hashlib.sha256(source.read_bytes() + machine).hexdigest()[:16]}"
    try:
        folder = _own_folder()
        return _cached(folder, stem) or _store(_compile(command), folder, stem, function)
    except _FolderError as error:
        problem = str(error)
    try:
        with tempfile.TemporaryDirectory(prefix="equissl-") as temporary:
            library = _store(_compile(command), Path(temporary), stem, function)
    except (OSError, _FolderError) as error:
        raise BuildError(f"{problem}; {error}") from error
    warnings.warn(
        f"{problem}. Compiled augmentations are built anew by every process, which takes seconds",
        stacklevel=2,
    )
    return library


def _command(source: Path) -> list[str]:
    """The compiler with all arguments but the output."""
    given = os.environ.get("CC", "").strip()
    try:
        compiler = [given] if shutil.which(given) else shlex.split(given)
    except ValueError as error:  # quotes that do not close
        raise BuildError(f"CC={given!r} is no command: {error}") from error
    default = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if not compiler and default is None:
        raise BuildError("there is no C compiler (cc, gcc or clang)")
    native = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
    return [*(compiler or [str(default)]), *_FLAGS, native, str(source), "-lm"]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


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
    status, said = _run(command, "the compiled library")
    if status:
        raise _FolderError(f"the compiled library in {path.parent} cannot be loaded ({said})")


def _compile(command: Sequence[str]) -> bytes:
    """
    Raises:
        BuildError: the compiler cannot be started, fails, does not end or writes nothing.
    """
    name = shlex.join(command[: -len(_FLAGS) - 3])
    try:
        with tempfile.TemporaryDirectory(prefix="equissl-") as folder:
            out = Path(folder) / "library.so"
            status, said = _run([*command, "-o", str(out)], f"the C compiler {name!r}")
            if status or not out.is_file():
                raise BuildError(f"the C compiler {name!r} made no library ({said})")
            return out.read_bytes()
    except (OSError, ValueError) as error:
        raise BuildError(f"the C compiler {name!r} cannot be run: {error}") from error


def _run(command: Sequence[str], name: str) -> tuple[int, str]:
    """Exit status of a program and the last line that it wrote to stderr.

    Raises:
        BuildError: it did not end.
    """
    with tempfile.TemporaryFile() as errors:
        program = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        try:
            status = program.wait(_TIMEOUT)
        except BaseException as error:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise BuildError(f"{name} did not end within {_TIMEOUT:.0f} s") from error
            raise
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - 2000))
        lines = errors.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return status, f"exit status {status}" + (f": {last[:300]!r}" if last else "")
