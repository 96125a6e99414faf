"""Scores that lie in memory in the words and tables of the report: for a terminal, a notebook and a chart."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from equissl.report import display_names as names
from equissl.report.audit import equivariance_words, words
from equissl.report.audit.equivariance import KINDS
from equissl.report.audit.readings import PREFIX, Audit, Reading, audits
from equissl.report.audit.terminal import as_text
from equissl.report.models import Model, models
from equissl.report.rows import Row, measured
from equissl.report.table import Table, build
from equissl.report.terminal import text
from equissl.tables import html_table
from equissl.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Shown:
    """What there is to show of some scores.

    Args:
        audits: at most one, of the rows "audit/...".
        table: all other scores.
    """

    audits: tuple[Audit, ...]
    table: Table

    def text(self, width: int) -> str:
        """For a terminal of ``width`` characters."""
        parts = [as_text(self.audits, width).strip("\n")] if self.audits else []
        if self.table.groups:
            from rich.console import Console

            file = io.StringIO()
            Console(file=file, width=width).print(text(self.table, width))
            parts.append(file.getvalue().strip("\n"))
        return "\n\n".join(parts)

    def html(self) -> str:
        """For a notebook."""
        parts = []
        for audit in self.audits:
            rows = [
                [r.title, words.interval(r.score), _band(r.untrained), words.degree(r)]
                for r in audit.readings
            ]
            header = ("factor", "score [95 %]", "untrained", "verdict")
            notes = [*words.warnings(audit), words.claim(audit), *words.earlier_layers(audit)]
            notes += [equivariance_words.sentence(e) for e in audit.equivariance]
            parts.append(html_table(header, rows, printable("\n".join(notes))))
        if self.table.groups:
            columns = ("", *(c.title for c in self.table.columns))
            rows = [
                [line.label, *("" if c is None else c.text(line.digits) for c in line.cells)]
                for group in self.table.groups
                for line in group.lines
            ]
            parts.append(html_table(columns, rows))
        return "".join(parts)

    def plot(self, ax: Axes) -> Axes:
        """A line per score with its interval; what untrained networks score as grey marks."""
        rows = [_Line(r.title, r.score.value, r.score.low, r.score.high, r.untrained) for r in self._readings]
        rows += list(self._lines)
        for y, row in enumerate(reversed(rows)):
            ends = [row.value if v is None else v for v in (row.low, row.high)]
            ax.plot(row.untrained, [y] * len(row.untrained), "|", color="grey", markersize=12)
            ax.plot(ends, [y, y], color="C0", linewidth=1.5)
            ax.plot([row.value], [y], "o", color="C0")
        ax.set_yticks(range(len(rows)), [names.short(row.label, 32) for row in reversed(rows)])
        ax.set_ylim(-0.7, len(rows) - 0.3)
        ax.grid(axis="x", alpha=0.4)
        ax.set_xlabel("score with 95 % interval; grey: untrained")
        return ax

    @property
    def _readings(self) -> list[Reading]:
        return [r for audit in self.audits for r in audit.readings]

    @property
    def _lines(self) -> list[_Line]:
        """Scores that share the axis of a fraction."""
        columns = self.table.columns
        own = next((i for i, c in enumerate(columns) if c.kind == "model"), 0)
        random = next((i for i, c in enumerate(columns) if c.baseline == "random"), None)
        found = []
        for line in (line for g in self.table.groups for line in g.lines):
            cell, beside = line.cells[own], None if random is None else line.cells[random]
            if cell is not None and line.higher_is_better and -1 <= cell.value <= 1:
                untrained = () if beside is None else (beside.value,)
                found.append(_Line(line.label, cell.value, cell.low, cell.high, untrained))
        return found


@dataclass(frozen=True)
class _Line:
    label: str
    value: float
    low: float | None
    high: float | None
    untrained: tuple[float, ...]


def shown(rows: Sequence[Row], name: str) -> Shown:
    """What there is to show of score rows (``Score.row()``) of one model, and its baselines."""
    found = audits(_models(rows, name))
    in_words = {PREFIX.rstrip("/"), *(KINDS if found else ())}
    others = [row for row in rows if str(row["name"]).partition("/")[0] not in in_words]
    return Shown(found, build(_models(others, name)))


def _models(rows: Sequence[Row], name: str) -> tuple[Model, ...]:
    return models([measured(rows, Path(name))])


def _band(values: Sequence[float]) -> str:
    ends = [names.decimal(v, 2) for v in (min(values), max(values))] if values else []
    return " to ".join(dict.fromkeys(ends))
