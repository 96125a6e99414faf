"""The comparison as data: scores down, models and baselines across, and which model is clearly best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from equissl.report import display_names as names
from equissl.report.groups import OTHER, ordered
from equissl.report.models import Model, seed
from equissl.report.rows import Measure, number
from equissl.report.statistics import Estimate, compare, mean, std

Kind = Literal["model", "baseline"]
BASELINES = {"random": "Random encoder", "statistics": "Image statistics", "constant": "Constant"}
IMPLIED = ("identity",)  # 0 for an absolute and 1 for a relative measure, by definition
LEFT_OUT = ("equivariance/relative_of_means/",)  # stays in scores.jsonl; says what the relative one says


@dataclass(frozen=True)
class Cell(Estimate):
    """One number: of one run with its interval, or the mean over seeds with their standard deviation.

    The interval of several seeds reaches from the lowest end of theirs to the highest.

    Args:
        std: over seeds, None for one.
        seeds: how many.
        count: images behind each.
    """

    std: float | None = None
    seeds: int = 1
    count: int = 0

    def margin(self, digits: int) -> str:
        """The uncertainty, "[0.80, 0.86]" or "± 0.02 (n=3)", or nothing."""
        if self.std is not None:
            return f"± {names.decimal(self.std, digits)} (n={self.seeds})"
        if self.low is None or self.high is None:
            return ""
        return f"[{names.decimal(self.low, digits)}, {names.decimal(self.high, digits)}]"

    def text(self, digits: int) -> str:
        return f"{names.decimal(self.value, digits)} {self.margin(digits)}".rstrip()


@dataclass(frozen=True)
class Column:
    """A model or a baseline; ``index`` is the model's number among all that are reported on."""

    title: str
    kind: Kind
    baseline: str = ""
    index: int = -1


@dataclass(frozen=True)
class Line:
    """One score across all columns; ``winner`` is the column that is clearly best, if one is.

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

    def lines(self, *groups: str) -> list[Line]:
        return [line for g in self.groups if g.title in groups for line in g.lines]


@dataclass(frozen=True)
class Key:
    """What makes two rows the same score; ``control`` is a baseline that is a line, not a column."""

    name: str
    part: str
    data: str
    split: str
    control: str


@dataclass
class Samples:
    """The rows of every cell; ``paired`` are the columns whose rows are one per training seed."""

    rows: dict[tuple[int, Key], list[Measure]] = field(default_factory=dict)
    paired: set[int] = field(default_factory=set)

    def cell(self, column: int, key: Key) -> Cell | None:
        rows = self.rows.get((column, key))
        return _cell(rows, column in self.paired) if rows else None


def build(models: Sequence[Model]) -> Table:
    """The table of the models that have scores; a score that only some have leaves cells empty."""
    columns: list[Column] = []
    samples = Samples()
    for index, model in enumerate(models):
        if any(not row.baseline for run in model.runs for row in model.rows(run)):
            _gather(samples, len(columns), model, baseline="")
            columns.append(Column(model.name, "model", index=index))
    scored = len(columns)
    for kind in _baselines(models):
        for title, group in _sharing(models, kind):
            for model in group:
                _gather(samples, len(columns), model, kind)
            columns.append(Column(title, "baseline", kind))
    keys = list(dict.fromkeys(key for _, key in samples.rows))
    lines = [_line(key, keys, samples, len(columns)) for key in keys]
    lines = [replace(line, winner=leader(line, range(scored))) for line in lines]
    headings = ordered([line.group for line in lines])
    return Table(tuple(columns), tuple(Group(h, tuple(x for x in lines if x.group == h)) for h in headings))


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


def _gather(samples: Samples, column: int, model: Model, baseline: str) -> None:
    several = len(model.runs) > 1
    if several and not baseline:
        samples.paired.add(column)
    for run in model.runs:
        by_key: dict[Key, list[Measure]] = {}
        for row in model.rows(run):
            kind = row.baseline if row.baseline in BASELINES else ""
            if kind == baseline and _is_shown(row):
                control = "" if kind else row.baseline
                by_key.setdefault(Key(row.name, row.part, row.data, row.split, control), []).append(row)
        for key, rows in by_key.items():
            newest = max(row.step for row in rows)
            kept = list({row.seed: row for row in rows if row.step == newest}.values())
            if several:
                kept = [replace(_averaged(kept), seed=int(number(seed(run, model.key(run))) or 0))]
            into = samples.rows.setdefault((column, key), [])
            if baseline:  # the same baseline measured beside two models is one number, not two seeds
                anonymous = [replace(row, model="", step=0, seed=0) for row in kept]
                kept = [row for row in anonymous if row not in into]
            into += kept


def _is_shown(row: Measure) -> bool:
    if row.name.startswith("audit/") and row.part != "all":  # layers and parts are shown as a profile
        return False
    if (
        row.name.startswith(("audit/", "map/", "product/")) and row.baseline
    ):  # their other references stay in scores.jsonl
        return row.baseline in BASELINES and not (row.baseline == "constant" and row.value == 0)
    return row.baseline not in IMPLIED and not row.name.startswith(LEFT_OUT)


def _averaged(rows: list[Measure]) -> Measure:
    """Probe seeds of one run count once when runs are compared."""
    if len(rows) == 1:
        return rows[0]
    cell = _cell(rows, paired=False)
    return replace(rows[0], value=cell.value, low=cell.low, high=cell.high)


def _cell(rows: list[Measure], paired: bool) -> Cell:
    values = [row.value for row in rows]
    several = len(rows) > 1
    known = all(row.low is not None and row.high is not None for row in rows)
    low = min(row.value if row.low is None else row.low for row in rows)
    high = max(row.value if row.high is None else row.high for row in rows)
    by_seed: Mapping[int, float] = {row.seed: row.value for row in rows} if paired else {}
    return Cell(
        value=mean(values) or 0.0,
        low=low if known or several else None,
        high=high if known or several else None,
        by_seed=by_seed,
        std=std(values),
        seeds=len(rows),
        count=min(row.count for row in rows),
    )


def _baselines(models: Sequence[Model]) -> list[str]:
    present = {m.baseline for model in models for run in model.runs for m in model.rows(run) if _is_shown(m)}
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
