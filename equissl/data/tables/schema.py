"""What the columns of a table are: which it measures, which one groups images, and which labels them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from equissl.config.validation import Checked
from equissl.data.tables.cells import Cells
from equissl.data.tables.factors import MeasuredFactor, measured_factor
from equissl.data.tables.kinds import Choice, choose, split_factors
from equissl.errors import UserError, nearest
from equissl.params import Space
from equissl.storage import read_object

SplitBy = Literal["image", "group"]
_KEYS = ("factors", "group", "label", "split_by")


@dataclass(frozen=True, kw_only=True)
class TableSchema(Checked):
    """What the columns of a table are, settled, as a run keeps it.

    Args:
        factors: what the table measures.
        group: the column whose images belong together; "" for none.
        label: the column of class labels; "" for none.
        split_by: whether a split takes images or whole groups.
    """

    factors: tuple[MeasuredFactor, ...] = ()
    group: str = ""
    label: str = ""
    split_by: SplitBy = "image"

    @property
    def space(self) -> Space:
        """The factors."""
        return Space(tuple(measured.factor for measured in self.factors))


@dataclass(frozen=True)
class Said:
    """What is said of a table's columns; "" is nothing said.

    Args:
        factors: ``NAME:KIND`` each.
        group, label, split_by: as in ``TableSchema``.
    """

    factors: tuple[str, ...] = ()
    group: str = ""
    label: str = ""
    split_by: str = ""


def schema_file(table: Path) -> Path:
    """The file beside a table that may say what its columns are: ``angles.schema.json`` of ``angles.csv``."""
    return table.with_suffix(".schema.json")


def settle(cells: Cells, said: Said) -> tuple[TableSchema, tuple[Choice, ...]]:
    """The schema of a table, and how its factors were chosen.

    What is ``said`` counts most, then the file beside the table, then its header, then the endings of names.

    Raises:
        UserError: a column that does not exist, no such kind, or cells that do not fit theirs.
    """
    beside = _beside(schema_file(cells.path))
    name = schema_file(cells.path).name
    group = _column(cells, "data.group", said.group) or _column(cells, f"{name}: group", beside.group)
    label = _column(cells, "data.label", said.label) or _column(cells, f"{name}: label", beside.label)
    label = label or ("label" if "label" in cells.columns else "")
    split_by = said.split_by or beside.split_by or "image"
    if split_by == "group" and not group:
        raise cells.error("data.split_by=group needs data.group=COLUMN, which tells what belongs together")
    choices = choose(
        list(cells.columns),
        [cells.file_column, group, label],
        {
            "the header": cells.kinds,
            name: split_factors(beside.factors),
            "data.factors": split_factors(said.factors),
        },
    )
    factors = tuple(measured_factor(choice, cells) for choice in choices)
    by_group: SplitBy = "group" if split_by == "group" else "image"
    return TableSchema(factors=factors, group=group, label=label, split_by=by_group), choices


def _column(cells: Cells, what: str, name: str) -> str:
    if name and name not in cells.columns:
        raise cells.error(f"{what}={name!r}: the table has no such column; {nearest(name, cells.columns)}")
    return name


def _beside(path: Path) -> Said:
    """What the file beside a table says; nothing if there is none."""
    if not path.is_file():
        return Said()
    content = read_object(path)
    if unknown := [key for key in content if key not in _KEYS]:
        raise UserError(f"{path}: there is no entry {unknown[0]!r}; {nearest(unknown[0], _KEYS)}")
    factors = content.get("factors", {})
    texts = {key: content.get(key, "") for key in _KEYS[1:]}
    if not all(isinstance(text, str) for text in texts.values()):
        raise UserError(f"{path}: group, label and split_by must be texts, got {str(texts)[:200]}")
    if texts["split_by"] not in ("", "image", "group"):
        raise UserError(f"{path}: split_by={texts['split_by'][:60]!r}; expected 'image' or 'group'")
    return Said(_named_kinds(path, factors), **texts)


def _named_kinds(path: Path, factors: object) -> tuple[str, ...]:
    plain = isinstance(factors, Mapping) and all(isinstance(v, str) for v in factors.values())
    if not isinstance(factors, Mapping) or not plain:
        raise UserError(
            f'{path}: factors must name a kind for each column, as {{"yaw": "circular(360)"}}, got '
            f"{str(factors)[:200]}"
        )
    return _checked([f"{name}:{kind}" for name, kind in factors.items()], path)


def _checked(factors: Sequence[str], path: Path) -> tuple[str, ...]:
    try:
        split_factors(factors)
    except UserError as error:
        raise UserError([f"{path}: factors: {p}" for p in error.problems]) from None
    return tuple(factors)
