"""The image files that a table names, with labels, groups and factors."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

import torch
from torch import Tensor

from equissl.data.files.labels import natural
from equissl.data.files.measurements import Measurements
from equissl.data.files.names import nfc
from equissl.data.files.scan import Listing
from equissl.data.tables.cells import Cells
from equissl.data.tables.factors import values
from equissl.data.tables.schema import TableSchema
from equissl.errors import nearest
from equissl.params import Params
from equissl.text import printable, read_cell


def listing_of(cells: Cells, schema: TableSchema) -> Listing:
    """The files of a table in its order, below its folder.

    Raises:
        UserError: a row names no file, one outside the folder, or one that an earlier row names; a column is
            missing; or a cell is no value of its kind.
    """
    files = file_names(cells)
    for name in filter(None, (schema.group, schema.label)):
        if name not in cells.columns:
            raise cells.error(f"it has no column {name!r}; {nearest(name, cells.columns)}")
    labels = (
        [nfc(printable(text)) for text in cells.texts(schema.label)] if schema.label else [""] * len(files)
    )
    classes = tuple(sorted(set(labels) - {""}, key=natural))
    number = {name: k for k, name in enumerate(classes)} | {"": -1}
    targets = tuple(number[label] for label in labels)
    params = Params.of(
        schema.space, {m.factor.name: values(m, cells) for m in schema.factors}, count=len(files)
    )
    groups = _numbered(group_names(cells, schema, files)) if schema.group else torch.arange(len(files))
    measured = Measurements(params, groups, paired=bool(schema.group))
    return Listing(cells.path.parent, files, targets, classes, measured)


def group_names(cells: Cells, schema: TableSchema, files: tuple[str, ...]) -> list[str]:
    """The group of each file; an empty cell is a group of its own.

    Raises:
        UserError: no two files are of one group.
    """
    names = cells.texts(schema.group)
    names = [name or f"\0{file}" for name, file in zip(names, files, strict=True)]
    if len(names) > 1 and len(set(names)) == len(names):
        raise cells.error(
            f"data.group={schema.group}: every image is alone in its group, so there are no pairs; name a "
            "column that several rows share, or none"
        )
    return names


def file_names(cells: Cells) -> tuple[str, ...]:
    """The path of every row relative to the table's folder, with forward slashes.

    Raises:
        UserError: a row names no file, one outside the folder, or one that an earlier row names.
    """
    column = cells.file_column
    texts = cells.texts(column)
    files = tuple(text if _is_plain(text) else _relative(cells, row, text) for row, text in enumerate(texts))
    if len(set(files)) < len(files):
        first: dict[str, int] = {}
        for row, file in enumerate(files):
            if first.setdefault(file, row) != row:
                where = f"{cells.word} {cells.lines[first[file]]}"
                raise cells.error(f"{file!r} stands in {where} already; a file may have one row", row)
    return files


def _is_plain(text: str) -> bool:
    """Whether a path is written as a ``Listing`` writes it, and stays below the folder."""
    odd = text.startswith(("/", "'")) or "\\" in text or "//" in text or "\0" in text
    return bool(text) and not odd and not {".", ".."} & set(text.split("/"))


def _relative(cells: Cells, row: int, text: str) -> str:
    if not text:
        raise cells.error(f"the cell of {cells.file_column!r} is empty; expected the path of an image", row)
    root = PurePosixPath(cells.path.parent.absolute().as_posix())
    written = (
        text,
        read_cell(text),
        text.replace("\\", "/"),
    )  # as it stands, from our own tables, of Windows
    named = next((t for t in written if "\0" not in t and os.path.exists(cells.path.parent / t)), written[-1])
    path = PurePosixPath(named)
    path = path.relative_to(root) if path.is_relative_to(root) else path
    if path.is_absolute() or ".." in path.parts or "\0" in named or not path.parts:
        raise cells.error(
            f"{text[:200]!r} is no file below the table's folder {str(cells.path.parent)!r}; write paths "
            "relative to it, and put the table into a folder that holds its images",
            row,
        )
    return str(path)


def _numbered(names: list[str]) -> Tensor:
    """Names as numbers, in the order of their first rows: (N,) int64."""
    number: dict[str, int] = {}
    return torch.tensor([number.setdefault(name, len(number)) for name in names])
