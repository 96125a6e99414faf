"""CSV files, in which no text is a formula of a spreadsheet or an escape of a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from equissl.errors import UserError
from equissl.storage import append, append_open, atomic_open
from equissl.text import cell, read_cell


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Replace a CSV file; numbers stay as they are, texts are written as ``equissl.text.cell`` says."""
    with atomic_open(path, newline="") as file:
        csv.writer(file).writerows(_cells(row) for row in rows)


def append_csv(path: Path, header: Sequence[str], row: Sequence[object]) -> None:
    """Add a row to a CSV file, after a header if the file is new."""
    lines = io.StringIO(newline="")
    csv.writer(lines).writerows(_cells(r) for r in ([row] if path.exists() else [header, row]))
    with append_open(path) as file:
        append(file, lines.getvalue().encode())


def read_csv(path: Path) -> list[list[str]]:
    """The rows of a CSV file written here, header included, with the texts as they were given.

    Raises:
        UserError: it is no CSV file.
    """
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(line.replace("\0", "") for line in file)
        try:
            return [[read_cell(text) for text in row] for row in reader]
        except csv.Error as error:
            raise UserError(f"{path} is not a CSV file: {error}") from error


def _cells(row: Sequence[object]) -> list[object]:
    return [cell(value) if isinstance(value, str) else value for value in row]
