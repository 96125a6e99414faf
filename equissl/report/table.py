"""The comparison as data: scores down, models and baselines across, and which model is clearly best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from equissl.report import display_names as names
from equissl.report.cells import BASELINES, Cell, Key, Samples, gather, is_shown
from equissl.report.groups import JUDGED, OTHER, ordered
from equissl.report.models import Model
from equissl.report.statistics import compare
from equissl.report.verdicts import KEPT, word

Kind = Literal["model", "baseline"]


@dataclass(frozen=True)
class Column:
    """A model or a baseline.

    Args:
        index: the model's number among all that are reported on.
        beside: of a baseline: the numbers of the models that it was measured beside.
        size: side of the images that the model reads, 0 if unknown.
    """

    title: str
    kind: Kind
    baseline: str = ""
    index: int = -1
    beside: tuple[int, ...] = ()
    size: int = 0


@dataclass(frozen=True)
class Line:
    """One score across all columns; ``winner`` is the column that is clearly best, if one is.

    Best is what is clearly better than all other models and, by the rule of the audit, kept: where there is
    no verdict on it, clearly better than each baseline beside it.

    Args:
        higher_is_better: None if models are not compared by it.
    """

    name: str
    group: str
    label: str
    unit: str
    cells: tuple[Cell | None, ...]
    digits: int
    higher_is_better: bool | None = None
    winner: int | None = None


@dataclass(frozen=True)
class Group:
    """Lines under one heading."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """Columns are models in the order given, then baselines."""

    columns: tuple[Column, ...]
    groups: tuple[Group, ...]

    def models(self) -> tuple[int, ...]:
        return tuple(i for i, c in enumerate(self.columns) if c.kind == "model")

    def baselines(self, column: int, kind: str) -> tuple[int, ...]:
        """The columns of a baseline beside a model's column."""
        index = self.columns[column].index
        return tuple(i for i, c in enumerate(self.columns) if c.baseline == kind and index in c.beside)

    def lines(self, *groups: str) -> list[Line]:
        return [line for g in self.groups if g.title in groups for line in g.lines]


def build(models: Sequence[Model]) -> Table:
    """The table of the models that have scores; a score that only some have leaves cells empty."""
    columns: list[Column] = []
    samples = Samples()
    for index, model in enumerate(models):
        if any(not row.baseline for run in model.runs for row in model.rows(run)):
            gather(samples, len(columns), model, baseline="")
            columns.append(Column(model.name, "model", index=index, size=model.size()))
    scored = len(columns)
    for kind in _baselines(models):
        for title, group in _sharing(models, kind):
            for model in group:
                gather(samples, len(columns), model, kind)
            beside = tuple(k for k, model in enumerate(models) if model in group)
            columns.append(Column(title, "baseline", kind, beside=beside))
    keys = list(dict.fromkeys(key for _, key in samples.rows))
    table = Table(tuple(columns), ())
    lines = [_judged(table, _line(key, keys, samples, len(columns)), key, samples) for key in keys]
    lines = [replace(line, winner=_winner(table, line, range(scored))) for line in lines]
    headings = ordered([line.group for line in lines])
    groups = tuple(Group(h, tuple(x for x in lines if x.group == h)) for h in headings)
    return replace(table, groups=groups)


def _judged(table: Table, line: Line, key: Key, samples: Samples) -> Line:
    """The line with a word in the cells of models that say something of a factor."""
    if line.group not in JUDGED:
        return line
    cells = list(line.cells)
    for column in table.models():
        if (cell := cells[column]) is not None:
            constants = (line.cells[c] for c in table.baselines(column, "constant"))
            chance = max([0.0, *(c.value for c in constants if c is not None)])
            cells[column] = replace(cell, word=word(samples.rows[column, key], cell.value, chance))
    return replace(line, cells=tuple(cells))


def _winner(table: Table, line: Line, columns: Iterable[int]) -> int | None:
    best = leader(line, columns)
    if best is None or (cell := line.cells[best]) is None:
        return None
    if cell.word:
        return best if cell.word in KEPT else None
    sign = 1 if line.higher_is_better else -1
    beside = (line.cells[c] for kind in BASELINES for c in table.baselines(best, kind))
    return best if all(_is_beyond(cell, other, sign) for other in beside if other is not None) else None


def _is_beyond(cell: Cell, other: Cell, sign: int) -> bool:
    """Whether a score is clearly better than a baseline, which may be exact."""
    if other.low is None or other.high is None:
        other = replace(other, low=other.value, high=other.value)
    return compare(cell, other) == sign


def without_audits(table: Table) -> Table:
    """The table without the rows of audits, whose claims follow a rule of their own."""
    groups = (
        Group(g.title, tuple(line for line in g.lines if not line.name.startswith("audit/")))
        for g in table.groups
    )
    return replace(table, groups=tuple(g for g in groups if g.lines))


def leader(line: Line, columns: Iterable[int]) -> int | None:
    """The column that is clearly better than each of the others (``statistics.compare``), if one is."""
    cells = {c: cell for c in columns if (cell := line.cells[c]) is not None}
    if len(cells) < 2 or line.higher_is_better is None:
        return None
    sign = 1 if line.higher_is_better else -1
    best = max(cells, key=lambda c: sign * cells[c].value)
    others = [cell for c, cell in cells.items() if c != best]
    return best if all(compare(cells[best], cell) == sign for cell in others) else None


def _baselines(models: Sequence[Model]) -> list[str]:
    present = {m.baseline for model in models for run in model.runs for m in model.rows(run) if is_shown(m)}
    return [kind for kind in BASELINES if kind in present]


def _sharing(models: Sequence[Model], kind: str) -> list[tuple[str, list[Model]]]:
    """Models that share a baseline: all of them, except that a random encoder is one per architecture."""
    title = BASELINES[kind]
    having = [m for m in models if any(row.baseline == kind for run in m.runs for row in m.rows(run))]
    by_encoder: dict[str, list[Model]] = {}
    for model in having:
        by_encoder.setdefault(model.encoder() if kind == "random" else "", []).append(model)
    if len(by_encoder) == 1:
        return [(title, having)]
    return [(f"{title} ({', '.join(m.name for m in g)})", g) for g in by_encoder.values()]


def _line(key: Key, keys: list[Key], samples: Samples, width: int) -> Line:
    rows = [row for column in range(width) for row in samples.rows.get((column, key), ())]
    cells = tuple(samples.cell(column, key) for column in range(width))
    known = [c for c in cells if c]
    widths = [c.high - c.low for c in known if c.low is not None and c.high is not None]
    widths += [2 * c.std for c in known if c.std is not None]
    alike = [k for k in keys if k.name == key.name]
    extra = [key.control] if key.control else []
    extra += [f"part {key.part}"] if key.part != "all" else []
    extra += [key.data] if len({k.data for k in alike}) > 1 and key.data else []
    extra += [key.split] if len({k.split for k in alike}) > 1 and key.split else []
    title = next((row.title for row in rows if row.title), names.label(key.name))
    return Line(
        key.name,
        group=next((row.group for row in rows if row.group), OTHER),
        label=" · ".join([title, *extra]),
        unit=next((row.unit for row in rows if row.unit), ""),
        cells=cells,
        digits=names.digits([c.value for c in known], widths),
        higher_is_better=next((r.higher_is_better for r in rows if r.higher_is_better is not None), None),
    )
