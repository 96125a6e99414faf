"""Files that appear whole or not at all, and JSON in them. Imports the standard library only."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from equissl.errors import UserError

_NUMBERS = itertools.count()


@contextmanager
def temporary_sibling(path: Path) -> Iterator[Path]:
    """A free hidden path beside ``path``, for a file or a folder; what is there at the end is removed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{next(_NUMBERS)}")
    try:
        yield temporary
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path to write a file to, renamed to ``path`` once the block ends without an error."""
    with temporary_sibling(path) as temporary:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)


@contextmanager
def atomic_open(path: Path, mode: Literal["w", "wb"] = "w", newline: str | None = None) -> Iterator[IO[Any]]:
    """Like ``open(path, mode)``, but ``path`` changes only once the block ends without an error.

    Args:
        mode: "w" for UTF-8 text, "wb" for bytes.
        newline: of text, as in ``open``; "" for the ``csv`` module.
    """
    encoding = "utf-8" if mode == "w" else None
    with atomic_path(path) as temporary, temporary.open(mode, encoding=encoding, newline=newline) as file:
        yield file


def write_text(path: Path, text: str, newline: str | None = None) -> None:
    with atomic_open(path, newline=newline) as file:
        file.write(text)


def write_bytes(path: Path, content: bytes) -> None:
    with atomic_open(path, "wb") as file:
        file.write(content)


def read_json(path: Path) -> Any:
    """
    Raises:
        UserError: there is no such file, or it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"no file {path}") from error
    except (
        ValueError,
        RecursionError,
    ) as error:  # also digits by the thousand
        raise UserError(f"{path} is not valid JSON: {error}") from error


def write_json(path: Path, value: object, indent: int | None = 2) -> None:
    write_text(path, json.dumps(value, indent=indent) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; none if it does not exist; a torn last line is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a JSON-lines file."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
