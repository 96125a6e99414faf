"""Labels of a folder's images, from the folders they lie in or from a table; never by default."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from equissl.data.files.decode import printable
from equissl.data.files.split import split_folders
from equissl.errors import UserError, nearest


def label_names(root: Path, files: Sequence[str], labels: str) -> list[str]:
    """A class name per file, "" where unknown.

    Args:
        files: relative to ``root``, with forward slashes.
        labels: "none", "folders" or the path of a ``.csv`` file, as ``scan`` explains.

    Raises:
        UserError: the labels cannot be had.
    """
    if labels == "none":
        return [""] * len(files)
    if labels == "folders":
        return _folder_labels(root, files)
    if labels.lower().endswith(".csv"):
        return _table_labels(root, files, labels)
    raise UserError(
        f"data.labels={labels!r} is not known; {nearest(labels, ['none', 'folders', 'a path to a .csv'])}"
    )


def natural(path: str) -> tuple[object, ...]:
    """A sorting key that reads numbers as numbers, with the path itself to settle ties."""
    parts = [re.split(r"([0-9]+)", part) for part in path.split("/")]  # text, number, text, ...
    keys = [tuple(int(p) if k % 2 else p for k, p in enumerate(part)) for part in parts]
    return (tuple(keys), path)


def _folder_labels(root: Path, files: Sequence[str]) -> list[str]:
    depth = 1 if split_folders(root) else 0
    parts = [PurePosixPath(f).parts for f in files]
    names = [printable(p[depth]) if len(p) > depth + 1 else "" for p in parts]
    by_split: dict[str, set[str]] = {}
    for p, name in zip(parts, names, strict=True):
        by_split.setdefault("/".join(p[:depth]), set()).add(name)
    for split, found in by_split.items():
        if len(found - {""}) < 2:
            raise UserError(
                f"data.labels=folders needs at least two folders of images in {str(root / split)!r}, one "
                f"per class; found {sorted(found - {''}) or 'images without a folder of their own'}"
            )
    return names


def _table_labels(root: Path, files: Sequence[str], labels: str) -> list[str]:
    table = Path(labels).expanduser()
    table = table if table.is_file() else root / labels
    if not table.is_file():
        near = nearest(Path(labels).name, [p.name for p in root.glob("*.csv")])
        raise UserError(f"data.labels={labels!r} does not exist, neither here nor in {str(root)!r}; {near}")
    known = _read_table(table, root)
    strangers = sorted(set(known) - set(files))
    if strangers:
        raise UserError(
            f"data.labels: {len(strangers)} of the {len(known)} files in {str(table)!r} are no images "
            f"below {str(root)!r}, such as {strangers[0]!r}; {nearest(strangers[0], files[:1000])}"
        )
    return [known.get(f, "") for f in files]


def _read_table(table: Path, root: Path) -> dict[str, str]:
    known: dict[str, str] = {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            if not {"file", "label"} <= set(columns):
                raise UserError(
                    f"data.labels: {str(table)!r} needs the columns file and label, found {list(columns)}"
                )
            for row in reader:
                name = _below(row["file"] or "", root)
                label = (row["label"] or "").strip()
                if known.setdefault(name, label) != label:
                    both = f"{known[name]!r} and {label!r}"
                    raise UserError(f"data.labels: {str(table)!r} gives {name!r} two labels, {both}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"data.labels: {str(table)!r} is no CSV file in UTF-8 ({error})") from None
    return known


def _below(file: str, root: Path) -> str:
    path = PurePosixPath(file.strip().replace("\\", "/"))
    start = PurePosixPath(root.absolute().as_posix())
    return str(path.relative_to(start) if path.is_relative_to(start) else path)
