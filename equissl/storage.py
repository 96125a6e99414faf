"""Files that appear whole or not at all, and JSON in them. No other file of the package writes.

Imports the standard library and neighbours that do.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from equissl.errors import UserError
from equissl.temporary import LOCK, clean, temporary_sibling
from equissl.text import printable

_REASONS = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EFBIG: "it is larger than the file system or `ulimit -f` allows: use another folder",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "no permission to write there: choose another folder or change its permissions",
    errno.EPERM: "no permission to write there: choose another folder or change its permissions",
    errno.EIO: "the disk reports an error: check it or use another",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.ELOOP: "its links lead in a circle: remove them",
    errno.ENOTEMPTY: "another process has made it meanwhile: choose another folder",
    errno.ENOTDIR: "a file is where a folder should be: choose another folder",
}
_ANYWHERE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}  # about writing, whoever raises


class WriteError(UserError):
    """A file could not be written; what was there before is unchanged."""


def write_problem(error: OSError, path: Path | str) -> str:
    """A sentence that says why a file was not written, and what to do."""
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error) or type(error).__name__)
    return f"{str(path)!r} was not written, {reason}. What was there before is unchanged"


def system_problem(error: OSError) -> str:
    """A sentence for an error of the system that no file of ours foresaw."""
    known = _REASONS.get(error.errno or 0) if error.errno in _ANYWHERE else None
    reason = known or error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason


@contextmanager
def atomic_path(path: Path, keep: Path | None = None, durable: bool = True) -> Iterator[Path]:
    """A temporary file to write to, which replaces ``path`` once the block ends without an error.

    Missing folders are made. A link is followed: the file that it leads to is replaced. Permissions are those
    of the file that is replaced, or of any new file (umask).

    Args:
        keep: where the file that is replaced is moved to; if absent it is removed.
        durable: wait until the file lasts through a power failure; for many small files that takes long.

    Raises:
        WriteError: the disk is full, a folder may not be written to, ``path`` is no regular file, ...
    """
    with in_words(path):
        target, mode = _target(path)
        make_folder(target.parent)
        with temporary_sibling(target) as temporary:
            with temporary.open("xb") as made:  # kept open, so that another file is recognised by its number
                if mode is not None:
                    os.chmod(temporary, mode)
                yield temporary
                found = os.fstat(made.fileno())
                if not os.path.samestat(found, os.stat(temporary)):  # a library put a file of its own there
                    os.chmod(temporary, stat.S_IMODE(found.st_mode))
            if durable:
                _sync(temporary, os.O_RDWR)
            if keep is not None and target.exists():
                target.replace(keep)
            temporary.replace(target)
            if durable:
                _sync_folder(target.parent)


@contextmanager
def atomic_open(
    path: Path,
    mode: Literal["w", "wb"] = "w",
    newline: str | None = None,
    keep: Path | None = None,
    durable: bool = True,
) -> Iterator[IO[Any]]:
    """Like ``open(path, mode)``, but ``path`` changes only once the block ends without an error.

    Args:
        mode: "w" for UTF-8 text, "wb" for bytes.
        newline: of text, as in ``open``.
        keep, durable: as of ``atomic_path``.

    Raises:
        WriteError: as ``atomic_path``.
    """
    encoding = "utf-8" if mode == "w" else None
    with (
        atomic_path(path, keep, durable) as temporary,
        temporary.open(mode, encoding=encoding, newline=newline) as file,
    ):
        yield file


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill, renamed to ``path`` once the block ends without an error.

    Raises:
        WriteError: as ``atomic_path``; or ``path`` is there by now and not an empty folder.
    """
    with in_words(path):
        target = Path(os.path.realpath(path))
        make_folder(target.parent)
        with temporary_sibling(target) as temporary:
            temporary.mkdir()
            yield temporary
            if target.is_dir() and is_free(target):
                (target / LOCK).unlink(missing_ok=True)
                target.rmdir()
            temporary.rename(target)
            _sync_folder(target.parent)


def append_open(path: Path) -> IO[bytes]:
    """A file that grows by ``append``, and whose reader leaves out a torn end.

    Raises:
        WriteError: it cannot be opened, or is no regular file.
    """
    with in_words(path):
        target, _ = _target(path)
        make_folder(target.parent)
        return target.open("ab", buffering=0)  # so that closing it has nothing left to write


def append(file: IO[bytes], content: bytes) -> None:
    """Write to a file of ``append_open``, at once.

    Raises:
        WriteError: the disk is full, ...
    """
    with in_words(Path(file.name)):
        while content:
            content = content[file.write(content) :]


def make_folder(path: Path) -> Path:
    """A folder with all above it; it may exist.

    Raises:
        WriteError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise WriteError(f"{str(path)!r} is a file where a folder is needed; choose another") from None
    except OSError as error:
        raise WriteError(write_problem(error, path)) from error
    return path


def is_free(folder: Path) -> bool:
    """Whether a folder is absent, or empty but for what a killed process of ours left in it."""
    clean(folder)
    return not folder.exists() or all(p.name == LOCK for p in folder.iterdir())


def move_file(source: Path, target: Path) -> None:
    """Rename a finished file over another.

    Raises:
        WriteError: it cannot be moved.
    """
    with in_words(target):
        source.replace(_target(target)[0])
        _sync_folder(target.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder of ours with all in it, as far as that is possible."""
    shutil.rmtree(path, ignore_errors=True)


def write_text(path: Path, text: str, newline: str | None = None) -> None:
    """Replace a text file; control characters in it are written as escapes (``equissl.text.printable``)."""
    with atomic_open(path, newline=newline) as file:
        file.write(printable(text))


def write_bytes(path: Path, content: bytes) -> None:
    with atomic_open(path, "wb") as file:
        file.write(content)


def check_regular(path: Path) -> None:
    """
    Raises:
        UserError: there is no such file, or it is a folder, or a device or pipe, which may never end.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; expected a file")
    if not path.is_file():
        raise UserError(
            f"{path} is no regular file (a device or pipe)" if path.exists() else f"no file {path}"
        )


def parse_json(text: str | bytes) -> Any:
    """
    Raises:
        ValueError: it is not JSON; also for another encoding, digits by the thousand, or deep nesting.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path) -> Any:
    """
    Raises:
        UserError: there is no such file, or it is not JSON.
    """
    check_regular(path)
    try:
        return parse_json(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error


def read_object(path: Path) -> dict[str, Any]:
    """
    Raises:
        UserError: there is no such file, or it holds no JSON object.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object, but {str(content)[:60]!r}")
    return content


def write_json(path: Path, value: object, indent: int | None = 2) -> None:
    write_text(path, json.dumps(value, indent=indent) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; none if it does not exist; a torn last line is left out.

    Raises:
        UserError: another line is no JSON object: rows after it must not be lost when the file is replaced.
    """
    if not path.exists():
        return []
    check_regular(path)
    lines = path.read_bytes().split(b"\n")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_json(line) if line.strip() else {}
        except ValueError:
            row = None
        if not isinstance(row, dict) and number < len(lines):
            raise UserError(f"line {number} of {path} is no row (a JSON object); remove the line")
        rows += [row] if row and isinstance(row, dict) else []
    return rows


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a JSON-lines file."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Turns errors of the operating system about writing ``path`` into ``WriteError``."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        about = Path(os.fsdecode(error.filename)).parent if error.filename is not None else None
        if error.errno not in _ANYWHERE and about not in (path.parent, Path(os.path.realpath(path)).parent):
            raise
        raise WriteError(write_problem(error, path)) from error
    except Exception as error:
        cause = _system_error(error)
        if cause is None or cause.errno not in _ANYWHERE:
            raise
        raise WriteError(write_problem(cause, path)) from error


def _system_error(error: BaseException | None) -> OSError | None:
    """The system's error behind one of a library: torch hides it, safetensors gives its number as text."""
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, OSError):
            return error
        if number := re.search(r"\(os error (\d+)\)", str(error)):
            return OSError(int(number[1]), os.strerror(int(number[1])))
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None


def _target(path: Path) -> tuple[Path, int | None]:
    """The file that a path leads to, and its permissions; None where there is none yet.

    Raises:
        WriteError: it is a folder, device or pipe, or may not be written to.
    """
    target = Path(os.path.realpath(path))
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return target, None
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file (a device or pipe)"
        raise WriteError(f"{str(path)!r} is {kind}; expected a file to write")
    if not os.access(target, os.W_OK):
        raise WriteError(f"{str(path)!r} is read-only; choose another file or change its permissions")
    return target, stat.S_IMODE(found.st_mode)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power failure, where the system can."""
    with contextlib.suppress(OSError):  # Windows opens no folders, some file systems sync none
        _sync(folder, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
