"""Tables as CSV, in notebooks and for pandas; no text is a formula, a tag or an escape of a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from equissl.errors import UserError
from equissl.storage import append, append_open, atomic_open
from equissl.text import cell, printable, read_cell

MAX_SHOWN = 60  # rows of a table in a notebook


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


class Rows(list[dict[str, Any]]):
    """Rows by column name: a list that a notebook shows as a table and pandas takes.

    >>> rows = Rows([{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.25, "lr": 0.1}])
    >>> rows.columns, rows.column("loss")
    (['step', 'loss', 'lr'], [2.5, 2.25])
    """

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in the order in which rows first have them."""
        return list(dict.fromkeys(name for row in self for name in row))

    def column(self, name: str) -> list[Any]:
        """The values of a column; None where a row has none."""
        return [row.get(name) for row in self]

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame``.

        Raises:
            UserError: pandas is not installed.
        """
        return data_frame({name: self.column(name) for name in self.columns})

    def _repr_html_(self) -> str:
        columns = self.columns
        return html_table(columns, [[row.get(name, "") for name in columns] for row in self])


def data_frame(columns: Mapping[str, Sequence[Any]]) -> Any:
    """A ``pandas.DataFrame`` of columns by name.

    Raises:
        UserError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise UserError("a table for pandas needs pandas: pip install pandas") from error
    return pandas.DataFrame(dict(columns))


def html_table(header: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> str:
    """A table for a notebook; numbers to four digits, at most ``MAX_SHOWN`` rows."""
    head = "".join(f"<th>{_html(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{_html(v)}</td>' for v in row)}</tr>" for row in rows[:MAX_SHOWN])
    left_out = len(rows) - MAX_SHOWN
    note = [caption] * bool(caption) + [f"{left_out:,} more rows"] * (left_out > 0)
    shown = "".join(f"<p>{_html(line)}</p>" for line in note)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{shown}"


def _html(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return escape(printable(text)).replace("\n", "<br>")
