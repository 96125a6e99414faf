"""What a comparison found, in words: a claim of a dozen words, then numbers, then what limits it.

A model *keeps* a factor better than others if its score is clearly better (``statistics.compare``: over two
or more shared seeds, the 95 % interval of the paired differences excludes 0; without, the 95 % intervals do
not overlap) and the verdict on it is "kept", the word of the audit (``evaluate.audit.verdict``): better than
networks with random weights read it from the same images. Whatever else is clearly better is *read* better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from equissl.report import display_names as names
from equissl.report.audit.words import FEW_IMAGES, lower
from equissl.report.cells import Cell
from equissl.report.groups import ACCURACY, READ
from equissl.report.table import Line, Table, leader
from equissl.report.verdicts import KEPT, LOST, READ_AT_LEAST, SLIGHTLY

MAX_FACTORS = 3  # named before "and N more"
MAX_WORDS = 12  # of a claim, where names are short


@dataclass(frozen=True)
class Finding:
    """What a comparison found.

    Args:
        claim: one sentence of a dozen words.
        evidence: sentences with the numbers behind it, and what else differs.
        conditions: sentences that limit it: few images, images of different sizes, scores without verdicts.
    """

    claim: str
    evidence: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()

    def lines(self) -> tuple[str, ...]:
        return (self.claim, *self.conditions, *self.evidence)


def finding(table: Table, paired: str = "") -> Finding:
    """Which factors the models keep and how accurate they are; of one model, what it keeps at all.

    Args:
        paired: the claim of audits of the same images, which see smaller differences than intervals that do
            not overlap; for models of which none clearly keeps a factor better.
    """
    columns = table.models()
    if not columns:
        return Finding("There are no scores yet.")
    if len(columns) == 1 and not table.baselines(columns[0], "random"):
        return Finding(f"There is nothing to compare {_name(table, columns[0])} with yet.")
    wins = {c: _wins(table, c, columns) for c in columns}
    order = sorted((c for c in columns if wins[c]), key=lambda c: -len(wins[c]))
    conditions = tuple(_conditions(table, columns))
    rest = (*_accuracies(table, columns), *_read_only(table, columns), *_lost(table, columns))
    if not order:
        claim = paired or _without_factors(table, columns)
        return Finding(claim, tuple(s for s in rest if s != claim), conditions)
    first, *others = order
    evidence = [_numbers(table, first, wins[first], columns)]
    evidence += [_numbers(table, c, wins[c], columns) for c in others]
    return Finding(_claim(table, first, wins[first], columns), (*evidence, *rest), conditions)


def _wins(table: Table, column: int, columns: Sequence[int]) -> list[Line]:
    """The factors this column keeps, better than every other, widest gap first; one line per label."""
    wins: dict[str, Line] = {}
    lines = [line for line in table.lines(*READ) if _is_kept(line, column, columns)]
    for line in sorted(lines, key=lambda line: -_gap(table, line, column, columns)):
        wins.setdefault(_factor(line), line)
    return list(wins.values())


def _is_kept(line: Line, column: int, columns: Sequence[int]) -> bool:
    cell = line.cells[column]
    return cell is not None and cell.word in KEPT and (len(columns) == 1 or _leads(line, column, columns))


def _leads(line: Line, column: int, columns: Sequence[int]) -> bool:
    return all(line.cells[c] for c in columns) and leader(line, columns) == column


def _claim(table: Table, column: int, wins: list[Line], columns: Sequence[int]) -> str:
    """As many factors as a dozen words have room for, one at least."""
    for count in range(min(len(wins), MAX_FACTORS), 0, -1):
        factors = [_factor(line) for line in wins[:count]]
        left = len(wins) - count
        factors += [f"{left} more"] if left else []
        words = f"{_name(table, column)} keeps {names.listed(factors)}{_than(table, column, columns)}."
        if len(words.split()) <= MAX_WORDS:
            break
    return words


def _numbers(table: Table, column: int, wins: list[Line], columns: Sequence[int]) -> str:
    units: set[str] = set()
    factors = []
    for line in wins:
        unit = "" if line.unit in units else f"{names.unit(line.unit)} ".lstrip()
        units.add(line.unit)
        factors.append(f"{_factor(line)} ({unit}{_versus(table, line, column, columns)})")
    shown = names.listed(factors)
    return f"{_name(table, column)} keeps {shown}{_than(table, column, columns)}."


def _than(table: Table, column: int, columns: Sequence[int]) -> str:
    others = [c for c in columns if c != column]
    if not others:
        return ""
    return f" better than {_name(table, others[0]) if len(others) == 1 else 'all others'}"


def _name(table: Table, column: int) -> str:
    return table.columns[column].title


def _factor(line: Line) -> str:
    """The label in a sentence, without the probe."""
    return lower(line.label.partition(" (")[0])


def _cell(line: Line, column: int) -> float:
    cell = line.cells[column]
    return cell.value if cell else float("-inf")


def _rivals(table: Table, line: Line, column: int, columns: Sequence[int]) -> list[Cell]:
    """Of the other models; of the untrained network where there is none."""
    others = [c for c in columns if c != column] or table.baselines(column, "random")
    return [cell for c in others if (cell := line.cells[c])]


def _gap(table: Table, line: Line, column: int, columns: Sequence[int]) -> float:
    return _cell(line, column) - max((r.value for r in _rivals(table, line, column, columns)), default=0.0)


def _versus(table: Table, line: Line, column: int, columns: Sequence[int]) -> str:
    """``0.91 vs 0.32, untrained 0.27``."""
    numbers = [_cell(line, column)]
    if len(columns) > 1:
        numbers.append(max(r.value for r in _rivals(table, line, column, columns)))
    found = [cell.value for c in table.baselines(column, "random") if (cell := line.cells[c])]
    untrained = f", untrained {names.decimal(found[0], line.digits)}" if found else ""
    return " vs ".join(names.decimal(n, line.digits) for n in numbers) + untrained


def _accuracies(table: Table, columns: Sequence[int]) -> Iterator[str]:
    """A sentence on the first accuracy that every model has, with an interval."""
    line = _accuracy(table, columns)
    if line is None or len(columns) < 2:
        return
    best = leader(line, columns)
    shown = max(columns, key=lambda c: _cell(line, c)) if best is None else best
    numbers = _versus(table, line, shown, columns)
    if best is None:
        yield f"There is no clear difference in accuracy ({numbers})."
    else:
        yield f"{_name(table, best)} is the most accurate ({numbers})."


def _accuracy(table: Table, columns: Sequence[int]) -> Line | None:
    for line in table.lines(ACCURACY):
        cells = [line.cells[c] for c in columns]
        if all(cell is not None and cell.low is not None for cell in cells):
            return line
    return None


def _read_only(table: Table, columns: Sequence[int]) -> Iterator[str]:
    """What is clearly better in one model, but hardly better than in networks with random weights."""
    if len(columns) < 2:
        return
    for column in columns:
        if named := [f"{f} ({word})" if word else f for f, word in _better_read(table, column, columns)]:
            read = f"{_name(table, column)} reads {names.listed(named)}{_than(table, column, columns)}"
            yield f"{read}, without surely keeping much of it."


def _better_read(table: Table, column: int, columns: Sequence[int]) -> list[tuple[str, str]]:
    """Factors that this column reads better than every other without keeping them, with their words."""
    lines = [x for x in table.lines(*READ) if _leads(x, column, columns)]
    kept = {_factor(x) for x in lines if _is_kept(x, column, columns)}
    words = {_factor(x): cell.word for x in lines if (cell := x.cells[column])}
    return [(f, word) for f, word in words.items() if f not in kept]


def _first(factors: list[str]) -> str:
    left = len(factors) - MAX_FACTORS
    return names.listed(factors[:MAX_FACTORS] + ([f"{left} more"] if left > 0 else []))


def _lost(table: Table, columns: Sequence[int]) -> Iterator[str]:
    for column in columns:
        lines = [x for x in table.lines(*READ) if (cell := x.cells[column]) and cell.word in LOST]
        if named := list(dict.fromkeys(_factor(x) for x in lines)):
            yield f"{_name(table, column)} has lost {names.listed(named)}: untrained networks read more."


def _without_factors(table: Table, columns: Sequence[int]) -> str:
    names_ = [_name(table, c) for c in columns]
    if len(columns) == 1:
        slightly = [x for x in table.lines(*READ) if (cell := x.cells[columns[0]]) and cell.word == SLIGHTLY]
        if named := list(dict.fromkeys(map(_factor, slightly))):
            return f"{names_[0]} keeps {_first(named)} slightly, and surely nothing else."
        if not any((cell := x.cells[columns[0]]) and cell.word for x in table.lines(*READ)):
            return f"No factor of {names_[0]} was compared with untrained networks."
        return f"{names_[0]} surely keeps no factor better than untrained networks do."
    reads = {
        c: named
        for c in columns
        if (named := [f for f, w in _better_read(table, c, columns) if w in READ_AT_LEAST])
    }
    if len(reads) == 1:
        ((column, named),) = reads.items()
        it = "it" if len(named) == 1 else "them"
        better = f"{_name(table, column)} reads {_first(named)}{_than(table, column, columns)}"
        return f"{better}, without surely keeping {it}."
    line = _accuracy(table, columns)
    best = leader(line, columns) if line else None
    if line and best is not None:
        return f"{_name(table, best)} is the most accurate ({_versus(table, line, best, columns)})."
    if len(columns) > 2:
        return f"None of {len(columns)} models clearly keeps a factor best."
    return f"There is no clear difference between {names.listed(names_)}."


def _conditions(table: Table, columns: Sequence[int]) -> Iterator[str]:
    lines = table.lines(ACCURACY, *READ)
    counts = [cell.count for line in lines for c in columns if (cell := line.cells[c]) and cell.count]
    if counts and min(counts) < FEW_IMAGES:
        yield (
            f"Only {min(counts)} test images: below {FEW_IMAGES}, what looks kept or lost may change with "
            "other images."
        )
    yield from different_sizes(table)
    factors = [cell for x in table.lines(*READ) for c in columns if (cell := x.cells[c])]
    if factors and not any(cell.word and cell.word != "not readable" for cell in factors):
        yield "No factor was compared with untrained networks, so that none can be called kept or lost."


def different_sizes(table: Table) -> Iterator[str]:
    """A sentence on images that the models read at different sizes."""
    sizes = {c: table.columns[c].size for c in table.models() if table.columns[c].size}
    if len(set(sizes.values())) > 1:
        listed = names.listed([f"{_name(table, c)} {size} px" for c, size in sizes.items()])
        yield f"The models read images of different sizes, which differences may be due to: {listed}."
