"""The chart of a comparison: one row per factor, a dot for each model, a tick for untrained networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from equissl.report import display_names as names
from equissl.report.groups import ACCURACY, FACTORS
from equissl.report.table import Column, Line, Table
from equissl.report.verdicts import KEPT, LOST

MAX_ROWS = 24  # of the chart
MAX_LINES = 8  # of the short table
MAX_ACCURACIES = 2  # of them


@dataclass(frozen=True)
class Dot:
    """One model's score of a factor; ``place`` is per cent of the chart's width, from 0 to 1.

    Args:
        tone: of its word: "good", "bad" or "none".
    """

    column: Column
    place: float
    number: str
    word: str
    tone: str


@dataclass(frozen=True)
class Row:
    """One factor.

    Args:
        ticks: (baseline, place) of untrained networks and constants.
        said: the same in words.
    """

    label: str
    unit: str
    dots: tuple[Dot, ...]
    ticks: tuple[tuple[str, float], ...]
    said: str

    @property
    def ends(self) -> tuple[float, float]:
        places = [dot.place for dot in self.dots]
        return min(places), max(places)


def dumbbells(table: Table) -> list[tuple[str, list[Row]]]:
    """Rows of the chart by heading, in the order of the table; at most ``MAX_ROWS`` of them."""
    room, found = MAX_ROWS, []
    for group in table.groups:
        if group.title in FACTORS:
            rows = [_row(table, line) for line in group.lines if _has_model(table, line)][:room]
            room -= len(rows)
            found += [(group.title, rows)] if rows else []
    return found


def summary_lines(table: Table) -> list[Line]:
    """The lines of the short table: accuracies, then the factors that models differ in most."""
    accuracies = [x for x in table.lines(ACCURACY) if _has_model(table, x)][:MAX_ACCURACIES]
    factors = [line for line in table.lines(*FACTORS) if _has_model(table, line)]
    widest = sorted(factors, key=lambda line: -_gap(table, line))[: MAX_LINES - len(accuracies)]
    return [*accuracies, *(line for line in factors if line in widest)]


def _has_model(table: Table, line: Line) -> bool:
    return any(line.cells[c] for c in table.models())


def _gap(table: Table, line: Line) -> float:
    """Between models; of one, to its untrained network."""
    values = [cell.value for c in table.models() if (cell := line.cells[c])]
    if len(values) == 1:
        values += [cell.value for c in _baselines(table, "random") if (cell := line.cells[c])]
    return max(values) - min(values)


def _baselines(table: Table, kind: str) -> Sequence[int]:
    return [i for i, column in enumerate(table.columns) if column.baseline == kind]


def _row(table: Table, line: Line) -> Row:
    dots = tuple(_dots(table, line))
    ticks = tuple(_ticks(table, line))
    scores = [f"{d.column.title} {d.number}{f', {d.word}' if d.word else ''}" for d in dots]
    scores += [f"untrained {names.decimal(v / 100, 2)}" for kind, v in ticks if kind == "random"]
    return Row(line.label, names.unit(line.unit), dots, ticks, "; ".join(scores))


def _dots(table: Table, line: Line) -> Iterator[Dot]:
    for c in table.models():
        if (cell := line.cells[c]) is not None:
            tone = "good" if cell.word in KEPT else "bad" if cell.word in LOST else "none"
            number = names.decimal(cell.value, line.digits)
            # Below chance a score has no meaning of its own.
            shown = "" if cell.word == "not readable" else number
            yield Dot(table.columns[c], place(cell.value), shown, cell.word, tone)


def _ticks(table: Table, line: Line) -> Iterator[tuple[str, float]]:
    for kind in ("random", "constant"):
        for c in _baselines(table, kind):
            cell = line.cells[c]
            if cell is not None and (kind == "random" or cell.value > 0):
                yield kind, place(cell.value)


def place(value: float) -> float:
    return round(100 * min(max(value, 0.0), 1.0), 2)
