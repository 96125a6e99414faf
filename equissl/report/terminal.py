"""The comparison table for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equissl.report import display_names as names
from equissl.report.cells import Cell
from equissl.report.table import Line, Table
from equissl.text import printable

if TYPE_CHECKING:
    import rich.table

ABSENT = "not measured"
GAP = 2  # characters between columns
WINNER = "*"  # readable without colour
WORDS = ("lost", "partly lost", "not readable")  # of the verdicts; the others would widen every column


def text(table: Table, width: int | None = None) -> rich.table.Table:
    """The table to print, fitted to ``width`` characters.

    Where space is short, baselines lose their intervals first, then intervals go below their values.
    """
    import rich.box
    import rich.table
    from rich.text import Text

    short, stacked = _fit(table, width)
    view = rich.table.Table(box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption_justify="left")
    view.add_column("")
    for column in table.columns:
        narrow = stacked and column.kind == "baseline"
        title = column.title.replace(" ", "\n") if narrow else column.title
        view.add_column(Text(printable(title)), overflow="fold")
    for group in table.groups:
        view.add_section()
        view.add_row(Text(printable(group.title), style="bold"))
        absent = {i for i in table.models() if not any(line.cells[i] for line in group.lines)}
        for number, line in enumerate(group.lines):
            cells = [_cell(table, line, i, short, stacked) for i in range(len(table.columns))]
            for i in absent:  # once for all its lines, not a column of dashes
                cells[i] = "" if number else ABSENT
            styles = ["bold green" if i == line.winner else "" for i in range(len(cells))]
            texts = [Text(c, style=s) for c, s in zip(cells, styles, strict=True)]
            view.add_row(Text(f"  {_label(line)}"), *texts)
    view.caption = Text(_caption(table))
    return view


def _label(line: Line) -> str:
    unit = names.unit(line.unit)
    return printable(f"{line.label} ({unit})" if unit else line.label)


def _cell(table: Table, line: Line, column: int, short: bool, stacked: bool) -> str:
    cell = line.cells[column]
    if cell is None:
        return "-"
    if short and table.columns[column].kind == "baseline":
        return names.decimal(cell.value, line.digits)
    marks = [WINNER] if column == line.winner else []
    marks += [cell.word] if cell.word in WORDS else []
    return " ".join([_text(cell, line.digits, stacked), *marks])


def _text(cell: Cell, digits: int, stacked: bool) -> str:
    return "\n".join(cell.text(digits).split(" ", 1)) if stacked else cell.text(digits)


def _fit(table: Table, width: int | None) -> tuple[bool, bool]:
    for short, stacked in ((False, False), (True, False)):
        if width is None or _needed(table, short) <= width:
            return short, stacked
    return True, True


def _needed(table: Table, short: bool) -> int:
    lines = [line for group in table.groups for line in group.lines]
    total = GAP + max((len(_label(line)) + 2 for line in lines), default=0)
    for index, column in enumerate(table.columns):
        widths = [len(_cell(table, line, index, short, False)) for line in lines]
        total += GAP + max([len(column.title), *widths])
    return total


def _caption(table: Table) -> str:
    if not table.groups:
        return "No scores yet."
    winners = any(line.winner is not None for group in table.groups for line in group.lines)
    cells = [c for g in table.groups for line in g.lines for c in line.cells if c]
    seeds = any(c.std is not None for c in cells)
    rule = "paired t over seeds, 95 %" if seeds else "intervals apart"
    parts = [f"{WINNER} clearly best, untrained included: {rule}."] if winners else []
    parts += ["[low, high]: 95 % interval."]
    parts += ["±: standard deviation over n seeds."] if seeds else []
    parts += ["(a to b): of a baseline beside several models."] if any(c.between for c in cells) else []
    return " ".join(parts)
