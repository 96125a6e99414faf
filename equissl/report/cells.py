"""The cells of a comparison: which rows of ``scores.jsonl`` are one number, and how they are merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from equissl.report import display_names as names
from equissl.report.models import Model, seed
from equissl.report.rows import Measure, number
from equissl.report.statistics import Estimate, mean, std

BASELINES = {"random": "Untrained encoder", "statistics": "Image statistics", "constant": "Constant"}
IMPLIED = ("identity",)  # 0 for an absolute and 1 for a relative measure, by definition
LEFT_OUT = ("equivariance/relative_of_means/",)  # stays in scores.jsonl; says what the relative one says


@dataclass(frozen=True)
class Cell(Estimate):
    """One number: of one run with its interval, or the mean over seeds with their standard deviation.

    The interval of several seeds reaches from the lowest end of theirs to the highest. A baseline that was
    measured beside several models is their mean; models are no seeds, so that it has a range, no deviation.

    Args:
        std: over seeds, None for one.
        seeds: how many.
        count: images behind each.
        between: the lowest and the highest value beside several models.
        word: what it says of a factor, "partly kept" or "not readable" (``verdicts.word``); "" for nothing.
    """

    std: float | None = None
    seeds: int = 1
    count: int = 0
    between: tuple[float, float] | None = None
    word: str = ""

    def margin(self, digits: int) -> str:
        """The uncertainty, "[0.80, 0.86]", "± 0.02 (n=3)" or "(0.70 to 0.90)", or nothing."""
        if self.between is not None:
            low, high = (names.decimal(v, digits) for v in self.between)
            return f"({low} to {high})" if low != high else ""
        if self.std is not None:
            return f"± {names.decimal(self.std, digits)} (n={self.seeds})"
        if self.low is None or self.high is None:
            return ""
        return f"[{names.decimal(self.low, digits)}, {names.decimal(self.high, digits)}]"

    def text(self, digits: int) -> str:
        return f"{names.decimal(self.value, digits)} {self.margin(digits)}".rstrip()


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
        if not rows:
            return None
        by_model: dict[str, list[Measure]] = {}
        for row in rows:
            by_model.setdefault(row.model, []).append(row)
        if len(by_model) == 1 or column in self.paired:
            return _cell(rows, column in self.paired)
        each = [_averaged(own) for own in by_model.values()]
        values = [row.value for row in each]
        return replace(_cell(each, paired=False), std=None, between=(min(values), max(values)))


def gather(samples: Samples, column: int, model: Model, baseline: str) -> None:
    several = len(model.runs) > 1
    if several and not baseline:
        samples.paired.add(column)
    for run in model.runs:
        by_key: dict[Key, list[Measure]] = {}
        for row in model.rows(run):
            kind = row.baseline if row.baseline in BASELINES else ""
            if kind == baseline and is_shown(row):
                control = "" if kind else row.baseline
                by_key.setdefault(Key(row.name, row.part, row.data, row.split, control), []).append(row)
        for key, rows in by_key.items():
            newest = max(row.step for row in rows)
            kept = list({row.seed: row for row in rows if row.step == newest}.values())
            if several:
                kept = [replace(_averaged(kept), seed=int(number(seed(run, model.key(run))) or 0))]
            into = samples.rows.setdefault((column, key), [])
            if baseline:  # the same baseline measured beside two models is one number, not two seeds
                plain = [replace(row, model=model.name, step=0, seed=0) for row in kept]
                known = [replace(row, model="") for row in into]
                kept = [row for row in plain if replace(row, model="") not in known]
            into += kept


def is_shown(row: Measure) -> bool:
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
