"""Class labels of an image folder: from its subfolders or from a CSV table."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from equissl.data.files.names import match_names, nfc
from equissl.data.files.split import inner_folder, split_folders
from equissl.errors import UserError, nearest
from equissl.text import printable, read_cell

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


def label_names(root: Path, files: Sequence[str], labels: str) -> list[str]:
    """Class name of each file, "" where unknown.

    Args:
        files: relative to ``root``, with forward slashes.
        labels: "none", "folders" or the path of a ``.csv`` file, as ``scan`` explains.

    Raises:
        UserError: there are no such labels.
    """
    if labels == "none":
        return [""] * len(files)
    if labels == "folders":
        return _folder_labels(root, files)
    if labels.lower().endswith(".csv"):
        return _table_labels(root, files, labels)
    raise UserError(
        f"data.labels={labels!r} does not exist; {nearest(labels, ['none', 'folders', 'a path to a .csv'])}"
    )


def natural(path: str) -> tuple[object, ...]:
    """Sort key for natural order: numbers compare as numbers, ties by the path itself.

    >>> sorted(["10.jpg", "2.jpg"], key=natural)
    ['2.jpg', '10.jpg']
    """
    parts = [re.split(r"([0-9]+)", part) for part in path.split("/")]  # text, number, text, ...
    keys = [tuple(int(p) if k % 2 else p for k, p in enumerate(part)) for part in parts]
    return (tuple(keys), path)


def _folder_labels(root: Path, files: Sequence[str]) -> list[str]:
    depth = inner_folder(root).count("/") + bool(split_folders(root))
    parts = [PurePosixPath(f).parts for f in files]
    names = [nfc(printable(p[depth])) if len(p) > depth + 1 else "" for p in parts]
    by_split: dict[str, set[str]] = {}
    folders: dict[tuple[str, str], str] = {}
    for p, name in zip(parts, names, strict=True):
        split = "/".join(p[:depth])
        by_split.setdefault(split, set()).add(name)
        if name and folders.setdefault((split, name), p[depth]) != p[depth]:
            both = f"{folders[split, name]!a} and {p[depth]!a}"
            raise UserError(
                f"data.labels=folders: {both} in {str(root / split)!r} look alike but are written with other "
                "Unicode characters; rename or join them"
            )
    for split, classes in by_split.items():
        if len(classes - {""}) < 2:
            raise UserError(
                f"data.labels=folders needs at least two class folders in {str(root / split)!r} (got "
                f"{sorted(classes - {''}) or 'images outside of folders'})"
            )
    return names


def _table_labels(root: Path, files: Sequence[str], labels: str) -> list[str]:
    table = Path(labels).expanduser()
    table = table if table.is_file() else root / labels
    if not table.is_file():
        near = nearest(Path(labels).name, [p.name for p in root.glob("*.csv")])
        raise UserError(f"data.labels={labels!r} does not exist, neither here nor in {str(root)!r}; {near}")
    labels_by_name = _read_table(table, root, set(files))
    try:
        matches = match_names(labels_by_name, files)
    except UserError as error:
        raise UserError(f"data.labels: {str(table)!r}: {error}") from None
    missing = sorted(set(labels_by_name) - set(matches))
    if missing:
        raise UserError(
            f"data.labels: {len(missing)} of {len(labels_by_name)} files in {str(table)!r} are not images "
            f"below {str(root)!r}, such as {missing[0]!r}; {nearest(missing[0], files[:1000])}"
        )
    labels_by_file: dict[str, str] = {}
    for name, file in matches.items():
        if labels_by_file.setdefault(file, labels_by_name[name]) != labels_by_name[name]:
            both = f"{labels_by_file[file]!r} and {labels_by_name[name]!r}"
            raise UserError(f"data.labels: {str(table)!r} gives {file!r} two labels, {both}")
    return [labels_by_file.get(f, "") for f in files]


def _read_table(table: Path, root: Path, files: Collection[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    try:
        with table.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.reader(file, strict=True)
            columns = next(reader, [])
            if columns.count("file") != 1 or columns.count("label") != 1:
                raise UserError(
                    f"data.labels: {str(table)!r} needs the columns file and label (got "
                    f"{str(columns)[:200]}), once each, separated by commas, in UTF-8"
                )
            for cells in filter(None, reader):
                if len(cells) != len(columns):
                    raise UserError(
                        f"data.labels: {str(table)!r}: line {reader.line_num} should have {len(columns)} "
                        f"cells, but has {len(cells)}; a text that holds a comma needs quotes around it"
                    )
                row = dict(zip(columns, cells, strict=True))
                name = _file_of(row["file"], root, files)
                label = nfc(row["label"].strip())
                if _CONTROLS.search(label):
                    raise UserError(
                        f"data.labels: {str(table)!r}: the label {label[:60]!r} that ends in line "
                        f"{reader.line_num} holds a control character, as after a quote that is not closed"
                    )
                if labels.setdefault(name, label) != label:
                    both = f"{labels[name]!r} and {label!r}"
                    raise UserError(f"data.labels: {str(table)!r} gives {name!r} two labels, {both}")
    except csv.Error as error:
        raise UserError(f"data.labels: {str(table)!r} is not a CSV file ({error})") from None
    if not any(labels.values()):
        raise UserError(f"data.labels: {str(table)!r} gives no file a label")
    return labels


def _file_of(cell: str, root: Path, files: Collection[str]) -> str:
    """The file that a cell names: as it stands, with the escapes of our own tables, or below ``root``."""
    names = (cell, read_cell(cell), _relative(cell, root))
    return next((name for name in names if name in files), names[-1])


def _relative(file: str, root: Path) -> str:
    path = PurePosixPath(file.strip().replace("\\", "/"))
    start = PurePosixPath(root.absolute().as_posix())
    return str(path.relative_to(start) if path.is_relative_to(start) else path)
