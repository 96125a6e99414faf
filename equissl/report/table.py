"""The comparison as data: measures down, models and baselines across, and who is clearly ahead."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from equissl.report import display_names as names
from equissl.report.families import COMPARED, FAMILIES, HEADINGS
from equissl.report.models import Model
from equissl.report.rows import Measure

Kind = Literal["model", "baseline"]
BASELINES = {"random": "Random encoder", "constant": "Constant"}  # the others belong to one model each
IMPLIED = ("identity",)  # 0 for an absolute and 1 for a relative measure, by definition
LEFT_OUT = ("equivariance/relative_of_means/",)  # stays in scores.jsonl; says what the relative one says


@dataclass(frozen=True)
class Cell:
    """One number: of one run with its interval, or the mean over seeds with their standard deviation.

    Args:
        low, high: 95 % interval; over several seeds, from the lowest end of theirs to the highest.
        spread: standard deviation over seeds, None for one.
        seeds: how many.
        count: images behind each.
    """

    value: float
    low: float | None
    high: float | None
    spread: float | None
    seeds: int
    count: int

    def margin(self, digits: int) -> str:
        """The uncertainty, "[0.80, 0.86]" or "± 0.02 (n=3)", or nothing."""
        if self.spread is not None:
            return f"± {names.decimal(self.spread, digits)} (n={self.seeds})"
        if self.low is None or self.high is None:
            return ""
        return f"[{names.decimal(self.low, digits)}, {names.decimal(self.high, digits)}]"

    def text(self, digits: int) -> str:
        return f"{names.decimal(self.value, digits)} {self.margin(digits)}".rstrip()


@dataclass(frozen=True)
class Column:
    """A model or a baseline; ``place`` is the model's number among all that are reported on."""

    title: str
    kind: Kind
    baseline: str = ""
    place: int = -1


@dataclass(frozen=True)
class Line:
    """One measure across all columns; ``winner`` is the column that is clearly ahead, if one is."""

    name: str
    family: str
    label: str
    unit: str
    cells: tuple[Cell | None, ...]
    digits: int
    winner: int | None = None


@dataclass(frozen=True)
class Group:
    """Lines under one heading."""

    family: str
    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """Columns are models in the order given, then baselines."""

    columns: tuple[Column, ...]
    groups: tuple[Group, ...]

    def models(self) -> tuple[int, ...]:
        return tuple(i for i, c in enumerate(self.columns) if c.kind == "model")

    def lines(self, *families: str) -> list[Line]:
        return [line for g in self.groups if g.family in families for line in g.lines]


@dataclass(frozen=True)
class Key:
    """What makes two rows the same measure; ``control`` is a baseline that is a line, not a column."""

    name: str
    part: str
    data: str
    split: str
    control: str


Samples = dict[tuple[int, Key], list[Measure]]


def build(models: Sequence[Model]) -> Table:
    """The table of the models that have scores; a measure that only some have leaves cells empty."""
    columns: list[Column] = []
    samples: Samples = {}
    for place, model in enumerate(models):
        if any(not row.baseline for run in model.runs for row in model.rows(run)):
            _gather(samples, len(columns), model, baseline="")
            columns.append(Column(model.name, "model", place=place))
    scored = len(columns)
    for kind in _baselines(models):
        for title, group in _sharing(models, kind):
            for model in group:
                _gather(samples, len(columns), model, kind)
            columns.append(Column(title, "baseline", kind))
    keys = list(dict.fromkeys(key for _, key in samples))
    lines = [_line(key, keys, samples, len(columns)) for key in keys]
    return Table(tuple(columns), tuple(_groups(lines, scored)))


def leader(line: Line, columns: Iterable[int]) -> int | None:
    """The column whose interval lies above all the others', None unless every one has an interval."""
    cells = {c: line.cells[c] for c in columns if line.cells[c] is not None}
    lows = {c: cell.low for c, cell in cells.items() if cell and cell.low is not None}
    highs = {c: cell.high for c, cell in cells.items() if cell and cell.high is not None}
    if len(cells) < 2 or len(lows) < len(cells) or len(highs) < len(cells):
        return None
    best = max(lows, key=lambda c: lows[c])
    return best if all(lows[best] > high for c, high in highs.items() if c != best) else None


def _gather(samples: Samples, place: int, model: Model, baseline: str) -> None:
    for run in model.runs:
        found: dict[Key, list[Measure]] = {}
        for row in model.rows(run):
            column = row.baseline if row.baseline in BASELINES else ""
            shown = row.baseline not in IMPLIED and not row.name.startswith(LEFT_OUT)
            if column == baseline and shown:
                control = "" if column else row.baseline
                found.setdefault(Key(row.name, row.part, row.data, row.split, control), []).append(row)
        for key, rows in found.items():
            newest = max(row.step for row in rows)
            last = {row.seed: row for row in rows if row.step == newest}
            kept = list(last.values())
            kept = [_averaged(kept)] if len(model.runs) > 1 else kept
            into = samples.setdefault((place, key), [])
            if baseline:  # the same baseline measured beside two models is one number, not two seeds
                kept = [
                    shared for row in kept if (shared := replace(row, model="", step=0, seed=0)) not in into
                ]
            into += kept


def _averaged(rows: list[Measure]) -> Measure:
    """Probe seeds of one run count once when runs are compared."""
    if len(rows) == 1:
        return rows[0]
    cell = _cell(rows)
    return replace(rows[0], value=cell.value, low=cell.low, high=cell.high)


def _cell(rows: list[Measure]) -> Cell:
    values = [row.value for row in rows]
    several = len(rows) > 1
    known = all(row.low is not None and row.high is not None for row in rows)
    low = min(row.value if row.low is None else row.low for row in rows)
    high = max(row.value if row.high is None else row.high for row in rows)
    return Cell(
        value=statistics.fmean(values),
        low=low if known or several else None,
        high=high if known or several else None,
        spread=statistics.stdev(values) if several else None,
        seeds=len(rows),
        count=min(row.count for row in rows),
    )


def _baselines(models: Sequence[Model]) -> list[str]:
    found = {m.baseline for model in models for run in model.runs for m in model.rows(run)}
    return [kind for kind in BASELINES if kind in found]


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
    rows = [samples.get((column, key), []) for column in range(width)]
    cells = tuple(_cell(r) if r else None for r in rows)
    known = [c for c in cells if c]
    widths = [c.high - c.low for c in known if c.low is not None and c.high is not None]
    widths += [2 * c.spread for c in known if c.spread is not None]
    twins = [k for k in keys if k.name == key.name]
    extra = [key.control] if key.control else []
    extra += [f"part {key.part}"] if key.part != "all" else []
    extra += [key.data] if len({k.data for k in twins}) > 1 and key.data else []
    extra += [key.split] if len({k.split for k in twins}) > 1 and key.split else []
    head = key.name.split("/")[0]
    family = FAMILIES.get(head, head if head in HEADINGS else "other")
    label = " · ".join([names.label(key.name), *extra])
    unit = next((m.unit for r in rows for m in r if m.unit), "")
    return Line(key.name, family, label, unit, cells, names.digits([c.value for c in known], widths))


def _groups(lines: list[Line], models: int) -> Iterable[Group]:
    for family, title in HEADINGS.items():
        chosen = [line for line in lines if line.family == family]
        if family in COMPARED:
            chosen = [replace(line, winner=leader(line, range(models))) for line in chosen]
        if family == "accuracy":
            chosen.sort(key=lambda line: not line.name.startswith("linear"))
        if chosen:
            yield Group(family, title, tuple(chosen))
