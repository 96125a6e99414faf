"""The cells of a table, column by column: CSV, JSON Lines or Parquet, whole in memory.

What a file holds is data of others: its size is bounded, and whatever is wrong is said with its line.
"""

from __future__ import annotations

import csv
import difflib
import itertools
import json
import os
import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from equissl.data.files.split import IMAGE_SUFFIXES
from equissl.data.tables.kinds import is_kind
from equissl.errors import UserError
from equissl.text import printable

TABLE_SUFFIXES = (".csv", ".jsonl", ".parquet")
MAX_GB = 2.0  # of a table's file, in 10^9 bytes
MAX_ROWS = 20_000_000
MAX_COLUMNS = 4096
_BLOCK = 200  # rows that are turned into columns at once: few, so that none outlives a round of the collector
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


@dataclass(frozen=True)
class Cells:
    """A table as it stands in its file.

    Args:
        path: the file.
        columns: name -> the cells of a column; texts of a CSV file, otherwise also numbers, None and times.
        kinds: name -> what follows its name in the header, "circular(360)" in "yaw:circular(360)".
        lines: of every row: its line in the file, or its number from 1 where there are no lines.
        word: "line" or "row".
        label: what messages call it; its path if empty.
    """

    path: Path
    columns: Mapping[str, Sequence[Any]]
    kinds: Mapping[str, str]
    lines: Sequence[int]
    word: str = "line"
    label: str = ""

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def file_column(self) -> str:
        """The column of paths: ``file``, or the first."""
        return "file" if "file" in self.columns else next(iter(self.columns))

    def texts(self, column: str) -> list[str]:
        """The cells of a column as texts without spaces around them; "" for an empty one."""
        cells = self.columns[column]
        return ["" if c is None else c.strip() if isinstance(c, str) else _text(c) for c in cells]

    def error(self, problem: str, row: int | None = None) -> UserError:
        """An error that names the table, and the row if there is one."""
        where = "" if row is None else f" {self.word} {self.lines[row]}:"
        label = self.label or f"data.path: {str(self.path)!r}"
        return UserError(printable(f"{label}:{where} {problem}"))


def is_table(path: Path | str) -> bool:
    """Whether a path is that of a table, whether or not it exists.

    >>> is_table("photos/angles.csv"), is_table("photos")
    (True, False)
    """
    return str(path).lower().endswith(TABLE_SUFFIXES) and not os.path.isdir(Path(path).expanduser())


def existing_table(path: str) -> Path:
    """The table at a path of the user.

    Raises:
        UserError: there is none, it is no regular file, or it is too large.
    """
    table = Path(path).expanduser()
    if not table.is_file():
        beside = [p.name for p in table.parent.glob("*") if p.suffix.lower() in TABLE_SUFFIXES]
        close = difflib.get_close_matches(table.name, beside, n=1)
        hint = f"; did you mean {str(table.parent / close[0])!r}?" if close else ""
        raise UserError(f"data.path={path!r} does not exist (expected a table of image files){hint}")
    if (size := table.stat().st_size) > MAX_GB * 1e9:
        raise UserError(
            f"data.path={path!r}: {size / 1e9:.1f} GB, but a table may have {MAX_GB:g} GB at most"
        )
    return table


def read_cells(path: str) -> Cells:
    """The table at ``path``: ``.csv`` (UTF-8, commas, a header), ``.jsonl`` or ``.parquet``.

    Raises:
        UserError: there is none, or it cannot be read as what its ending says.
    """
    table = existing_table(path)
    readers: dict[str, Callable[[Path], tuple[list[str], list[Sequence[Any]], Sequence[int]]]]
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    suffix = table.suffix.lower()
    try:
        header, columns, lines = readers[suffix](table)
    except OSError as error:
        raise _problem(table, f"cannot be read ({error.strerror or error})") from error
    names, kinds = _names(table, header)
    if not lines:
        raise _problem(table, "has no rows")
    word = "row" if suffix == ".parquet" else "line"
    return Cells(table, dict(zip(names, columns, strict=True)), kinds, lines, word)


def _read_csv(path: Path) -> tuple[list[str], list[Sequence[Any]], Sequence[int]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            _check_commas(path, header)
            columns: list[list[str]] = [[] for _ in header]
            lines = array("q")
            rows = ((reader.line_num, row) for row in reader if row)
            while block := list(itertools.islice(rows, _BLOCK)):  # all rows as lists would be slow to collect
                numbers, cells = zip(*block, strict=True)
                _check_widths(path, len(header), numbers, cells)
                lines.extend(numbers)
                for column, part in zip(columns, zip(*cells, strict=True), strict=True):
                    column.extend(part)
        except csv.Error as error:
            raise _problem(path, f"is not a CSV file (line {reader.line_num}: {error})") from None
        except UnicodeDecodeError as error:
            raise _problem(
                path,
                f"is not UTF-8 (after line {reader.line_num}: {error.reason}); save it as UTF-8, which Excel "
                'calls "CSV UTF-8"',
            ) from None
    return header, list(columns), lines


def _check_widths(path: Path, width: int, numbers: Sequence[int], rows: Sequence[Sequence[str]]) -> None:
    if set(map(len, rows)) == {width}:
        return
    number, found = next((n, len(row)) for n, row in zip(numbers, rows, strict=True) if len(row) != width)
    raise _problem(
        path,
        f"line {number} should have {width} cells, but has {found}; a text that holds a comma needs quotes "
        "around it",
    )


def _check_commas(path: Path, header: Sequence[str]) -> None:
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise _problem(path, f"its header {header[0][:80]!r} has no commas; separate cells by commas")
    if header and PurePosixPath(header[0].strip().lower()).suffix in IMAGE_SUFFIXES:
        raise _problem(
            path, f"its first line begins with {header[0][:80]!r}; expected a header, such as file,label"
        )


def _read_jsonl(path: Path) -> tuple[list[str], list[Sequence[Any]], Sequence[int]]:
    columns: dict[str, list[Any]] = {}
    lines = array("q")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _problem(path, f"line {number} is not JSON in UTF-8 ({error})") from None
            if not isinstance(row, dict):
                raise _problem(path, f'line {number} is no JSON object, such as {{"file": "1.png"}}')
            for name in row.keys() - columns.keys() if len(columns) < MAX_COLUMNS else ():
                columns[name] = [None] * len(lines)
            for name, cells in columns.items():
                cells.append(row.get(name))
            lines.append(number)
    first = {name: k for k, name in enumerate(_first_keys(path))}
    header = sorted(columns, key=lambda n: (first.get(n, len(first)), n))
    return header, [columns[n] for n in header], lines


def _first_keys(path: Path) -> list[str]:
    """The keys of the first row, in their order."""
    with path.open("rb") as file:
        return next((list(json.loads(line)) for line in file if line.strip()), [])


def _read_parquet(path: Path) -> tuple[list[str], list[Sequence[Any]], Sequence[int]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise _problem(path, f"Parquet needs the extra: pip install 'equissl[tables]' ({error})") from error
    try:
        file = pq.ParquetFile(path)
        if (count := file.metadata.num_rows) > MAX_ROWS:
            raise _problem(path, f"has {count:,} rows; a table may have {MAX_ROWS:,} at most")
        header = [f.name for f in file.schema_arrow if not _is_content(pa, f.type)][: MAX_COLUMNS + 1]
        table = file.read(columns=header)
        columns = [_arrow_cells(pa, table.column(name)) for name in header]
    except (pa.ArrowException, ValueError, KeyError, MemoryError) as error:
        raise _problem(path, f"is not a Parquet file that can be read ({str(error)[:200]})") from error
    return header, columns, range(1, count + 1)


def _is_content(pa: Any, kind: Any) -> bool:
    """Whether a column holds something that is no cell, such as the bytes of images."""
    return bool(pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _arrow_cells(pa: Any, column: Any) -> Sequence[Any]:
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        cells: Sequence[Any] = column.to_numpy()
        return cells
    listed: list[Any] = column.to_pylist()
    return listed


def _names(path: Path, header: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The names of columns, and the kinds that follow some of them after a colon."""
    if len(header) > MAX_COLUMNS:
        raise _problem(path, f"has {len(header):,} columns; a table may have {MAX_COLUMNS:,} at most")
    names: list[str] = []
    kinds: dict[str, str] = {}
    for number, text in enumerate(header, 1):
        name, kind = _split_kind(text.strip())
        if not name:
            raise _problem(
                path,
                f"column {number} of its header has no name; name it, or leave it out (pandas writes its "
                "index so: to_csv(..., index=False))",
            )
        if not _NAME.fullmatch(name):
            raise _problem(path, f"column {number} is named {name[:60]!r}; expected a short text in one line")
        if name in names:
            raise _problem(path, f"two columns are named {name!r}")
        names.append(name)
        kinds |= {name: kind} if kind else {}
    if not names:
        raise _problem(path, "is empty; expected a header, such as file,label")
    return names, kinds


def _split_kind(text: str) -> tuple[str, str]:
    """The name and the kind of ``yaw:circular(360)``; a colon before any other text is part of the name."""
    name, colon, kind = text.rpartition(":")
    return (name.strip(), kind.strip()) if colon and is_kind(kind) else (text, "")


def _text(cell: object) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return cell.isoformat() if hasattr(cell, "isoformat") else str(cell).strip()


def _problem(path: Path, problem: str) -> UserError:
    return UserError(printable(f"data.path: {str(path)!r} {problem}"))
