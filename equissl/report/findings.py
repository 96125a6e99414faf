"""One-sentence headline of a report, from clear differences only (``statistics.compare``).

A difference is clear if, over two or more shared seeds, the 95 % interval of the paired differences excludes
0; without shared seeds, if the 95 % intervals do not overlap. A factor counts as kept only above the
constant baseline. Everything else is "no clear difference".
"""

from __future__ import annotations

from collections.abc import Sequence

from equissl.report import display_names as names
from equissl.report.groups import ACCURACY, READ
from equissl.report.table import Line, Table, leader, without_audits

MAX_FACTORS = 3  # named before "and N more"


def headline(table: Table) -> str:
    """One sentence on which factors the models keep and how accurate they are.

    A single model is compared with its random encoder. Audits count only where there is nothing else: their
    claims follow a stricter rule (``audit.words``).
    """
    others = without_audits(table)
    sentence = _sentence(others if others.groups else table)
    return sentence[:1].upper() + sentence[1:]


def _sentence(table: Table) -> str:
    columns = _compared(table)
    if not columns:
        return "there are no scores yet."
    if len(columns) < 2:
        return f"there is nothing to compare {_title(table, columns[0])} with yet."
    wins = {c: _wins(table, c, columns) for c in columns}
    order = [c for c in columns if wins[c]]
    order.sort(key=lambda c: (table.columns[c].kind == "baseline", -len(wins[c])))
    if not order:
        return _without_factors(table, columns)
    first, *others = order
    clauses = [_keeps(table, first, wins[first], columns) + _accuracy_clause(table, first, columns)]
    clauses += [_keeps(table, c, wins[c], columns) for c in others]
    return "; ".join(clauses) + "."


def _compared(table: Table) -> tuple[int, ...]:
    models = table.models()
    if len(models) != 1:
        return models
    return models + tuple(i for i, c in enumerate(table.columns) if c.baseline == "random")[:1]


def _title(table: Table, column: int, noun: str = "model") -> str:
    title = table.columns[column].title
    return "a random encoder" if table.columns[column].kind == "baseline" else f"the {title} {noun}"


def _wins(table: Table, column: int, columns: Sequence[int]) -> list[Line]:
    """The factors this column keeps best, widest gap first, one line per label."""
    wins: dict[str, Line] = {}
    lines = [line for line in table.lines(*READ) if leader(line, columns) == column]
    for line in sorted(lines, key=lambda line: -_gap(line, column, columns)):
        if _value(line, column) > _constant(table, line) and all(line.cells[c] for c in columns):
            wins.setdefault(_factor(line), line)
    return list(wins.values())


def _factor(line: Line) -> str:
    """The label in a sentence, without the probe."""
    label = line.label.partition(" (")[0]
    return label[:1].lower() + label[1:] if label[1:2].islower() else label


def _value(line: Line, column: int) -> float:
    cell = line.cells[column]
    return cell.value if cell else float("-inf")


def _constant(table: Table, line: Line) -> float:
    """The constant baseline: a factor read no better than this is not kept, only lost less."""
    values = [_value(line, i) for i, c in enumerate(table.columns) if c.baseline == "constant"]
    return max([0.0, *values])


def _rival(line: Line, column: int, columns: Sequence[int]) -> int:
    return max((c for c in columns if c != column and line.cells[c]), key=lambda c: _value(line, c))


def _gap(line: Line, column: int, columns: Sequence[int]) -> float:
    return _value(line, column) - _value(line, _rival(line, column, columns))


def _versus(line: Line, column: int, columns: Sequence[int]) -> str:
    ours, theirs = _value(line, column), _value(line, _rival(line, column, columns))
    return f"{names.decimal(ours, line.digits)} vs {names.decimal(theirs, line.digits)}"


def _keeps(table: Table, column: int, wins: list[Line], columns: Sequence[int]) -> str:
    units: set[str] = set()
    factors = []
    for line in wins[:MAX_FACTORS]:
        unit = "" if line.unit in units else f"{names.unit(line.unit)} ".lstrip()
        units.add(line.unit)
        factors.append(f"{_factor(line)} ({unit}{_versus(line, column, columns)})")
    left = len(wins) - MAX_FACTORS
    factors += [f"{left} more {'factor' if left == 1 else 'factors'}"] if left > 0 else []
    others = [c for c in columns if c != column]
    than = _title(table, others[0], "one") if len(others) == 1 else f"the {len(others)} others"
    return f"{_title(table, column)} keeps {names.listed(factors)} better than {than}"


def _accuracy(table: Table, columns: Sequence[int]) -> Line | None:
    """The first accuracy that every compared column has, with an interval."""
    for line in table.lines(ACCURACY):
        cells = [line.cells[c] for c in columns]
        if all(cell is not None and cell.low is not None for cell in cells):
            return line
    return None


def _accuracy_clause(table: Table, column: int, columns: Sequence[int]) -> str:
    line = _accuracy(table, columns)
    if line is None:
        return ""
    best = leader(line, columns)
    numbers = _versus(line, column, columns)
    if best == column:
        return f", and is more accurate too ({numbers})"
    if _is_below(line, column, columns):
        return f", at lower accuracy ({numbers})"
    return f", with no clear difference in accuracy ({numbers})"


def _is_below(line: Line, column: int, columns: Sequence[int]) -> bool:
    return leader(line, (column, _rival(line, column, columns))) not in (None, column)


def _without_factors(table: Table, columns: Sequence[int]) -> str:
    titles = names.listed([_title(table, c) for c in columns])
    factors = table.lines(*READ)
    line = _accuracy(table, columns)
    best = leader(line, columns) if line else None
    if line and best is not None:
        also = "; no factor shows a clear difference" if factors else ""
        return f"{_title(table, best)} is the most accurate ({_versus(line, best, columns)}){also}."
    if len(columns) > 2:
        return f"none of {titles} clearly keeps a factor best or is clearly the most accurate."
    return f"there is no clear difference between {titles} on any score they share."
