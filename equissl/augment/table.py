"""Table of recorded augmentation parameters: as text, as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from equissl.params import Factor
from equissl.tables import data_frame, html_table, write_csv

Cell = float | int | bool | str | tuple[float, ...] | None

_GAP = "  "  # between columns


@dataclass(frozen=True)
class Table:
    """Augmentation parameters by name, one row per view of an image.

    Args:
        columns: "image", "view", then one column per factor; a binary factor holds bools, a discrete one
            integers, a factor of several numbers (an order of color operations) tuples. A factor that a
            view does not have is ``None``, one that was not applied has its neutral value.
        units: factor name -> unit, "" for none.
    """

    columns: Mapping[str, Sequence[Cell]]
    units: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.columns["image"])

    @property
    def headings(self) -> tuple[str, ...]:
        """Names with units: "hue [turns]"."""
        return tuple(f"{n} [{self.units[n]}]" if self.units.get(n) else n for n in self.columns)

    def to_csv(self, path: Path | str) -> None:
        """Write as CSV; numbers with the fewest digits that round-trip float32."""
        rows = ([_full_precision(cell) for cell in row] for row in self._rows())
        write_csv(Path(path), [self.headings, *rows])

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame``, names with units.

        Raises:
            UserError: pandas is not installed.
        """
        return data_frame(dict(zip(self.headings, self.columns.values(), strict=True)))

    def _repr_html_(self) -> str:
        rows = [[_four_digits(cell) for cell in row] for row in self._rows()]
        return html_table(self.headings, rows)

    def __str__(self) -> str:
        """Aligned columns, numbers to four digits."""
        return self.text()

    def text(self, width: int = 0) -> str:
        """As ``str``, in blocks of columns of at most ``width`` characters; 0 for a single block.

        "image" and "view" stand in every block.
        """
        keys = {n: self._aligned(n) for n in self.columns if n in ("image", "view")}
        blocks: list[list[list[str]]] = []
        room = 0
        for column in (self._aligned(n) for n in self.columns if n not in keys):
            needed = len(column[0]) + len(_GAP)
            if not blocks or (width and needed > room):
                blocks.append(list(keys.values()))
                room = width - sum(len(c[0]) + len(_GAP) for c in keys.values()) + len(_GAP)
            blocks[-1].append(column)
            room -= needed
        lines = (
            "\n".join(_GAP.join(row) for row in zip(*b, strict=True)) for b in blocks or [[*keys.values()]]
        )
        return "\n\n".join(lines)

    def _aligned(self, name: str) -> list[str]:
        """Heading and cells of a column, of one width."""
        heading = self.headings[list(self.columns).index(name)]
        shown = [heading, *map(_four_digits, self.columns[name])]
        return [text.rjust(max(map(len, shown))) for text in shown]

    def _rows(self) -> list[tuple[Cell, ...]]:
        return list(zip(*self.columns.values(), strict=True))


def cells(factor: Factor, values: Tensor) -> list[Cell]:
    """Values (B, size) of a factor as Python bools, integers, floats or tuples."""
    if factor.discrete and factor.encoded_size == 1:
        return [bool(v) for v in values[:, 0].tolist()]
    rows = values.double().tolist()
    if all(v == round(v) for row in rows for v in row) and (factor.discrete or factor.size > 1):
        rows = [[int(v) for v in row] for row in rows]
    return [row[0] if factor.size == 1 else tuple(row) for row in rows]


def _full_precision(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case tuple():
            return " ".join(map(_full_precision, cell))
        case float():
            return str(np.float32(cell))
    return str(cell)


def _four_digits(cell: Cell) -> str:
    match cell:
        case None:
            return "-"
        case bool():
            return "yes" if cell else "no"
        case tuple():
            return " ".join(map(_four_digits, cell))
        case float():
            return f"{cell:.4g}"
    return str(cell)
