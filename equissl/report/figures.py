"""Inline SVG figures in the colours of the page: bars per factor and training curves."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from equissl.report import display_names as names
from equissl.report.cells import Cell
from equissl.report.groups import FACTORS
from equissl.report.models import Model
from equissl.report.rows import Run
from equissl.report.table import Line, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that stand for the page's own, so that one image serves light and dark (see style.css.j2).
SERIES = 8
INK, MUTED, RULE, PAPER = "#000010", "#000020", "#000030", "#000040"
VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", PAPER: "--paper"} | {
    f"#0000a{i}": f"--series-{i}" for i in range(SERIES)
}
SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "equissl",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that layout is the same everywhere
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a factor called "$x$" is just that
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
}
MAX_POINTS = 9000  # in all panels together
MAX_PANELS = 60  # of curves: each takes half a second
SKIPPED = ("lr", "data_wait", "augment_fraction", "images_per_second", "epoch", "step", "seconds")
BAR = 0.15  # inches


@dataclass(frozen=True)
class Shape:
    """A width in inches and how many panels fit side by side."""

    name: str
    width: float
    columns: int


SHAPES = (Shape("wide", 10.0, 3), Shape("narrow", 3.7, 1))  # the page shows the one that fits


def color(index: int) -> str:
    return f"#0000a{index % SERIES}"


def factor_bars(table: Table, shape: Shape) -> str:
    """Horizontal bars with confidence intervals, grouped by factor, and ticks at the baselines.

    Returns "" if no factor was measured.
    """
    panels = [(t, lines) for t, lines in _panels(table) if lines]
    if not panels:
        return ""
    models = table.models()
    heights = [len(lines) * (len(models) + 1.2) * BAR for _, lines in panels]
    with matplotlib_style(SETTINGS):
        figure = new_figure(shape.width, sum(heights) + 0.6 * len(panels))
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
        for ax, (title, lines) in zip(axes, panels, strict=True):
            _bars(ax, table, lines)
            heading = names.short(title)
            ax.set_title(textwrap.fill(heading, 30) if shape.columns == 1 else heading)
        return to_svg(figure, f"bars-{shape.name}", _bars_description(table, panels))


def curves(models: Sequence[Model], shape: Shape) -> str:
    """Logged losses and collapse indicators over training, raw (faint) and smoothed.

    Returns "" if nothing was logged.
    """
    keys = _keys(models)[:MAX_PANELS]
    if not keys:
        return ""
    rows = -(-len(keys) // shape.columns)
    lines = len(keys) * sum(len(m.runs) for m in models)
    points = min(max(MAX_POINTS // lines, 40), 200)
    with matplotlib_style(SETTINGS):
        figure = new_figure(shape.width, 1.75 * rows)
        axes = figure.subplots(rows, shape.columns, squeeze=False).ravel()
        for ax, key in zip(axes, keys, strict=False):
            _curve(ax, models, key, points)
        for ax in axes[len(keys) :]:
            ax.set_axis_off()
        return to_svg(
            figure, f"curves-{shape.name}", f"Training curves: {', '.join(map(names.label, keys))}."
        )


def curves_left_out(models: Sequence[Model]) -> int:
    """How many logged quantities ``curves`` has no room for."""
    return max(0, len(_keys(models)) - MAX_PANELS)


def _keys(models: Sequence[Model]) -> list[str]:
    keys = list(dict.fromkeys(k for m in models for run in m.runs for k in _logged(run)))
    return sorted(keys, key=lambda k: (k != "loss", "/" not in k, k.startswith("probe/")))


def _panels(table: Table) -> Iterator[tuple[str, list[Line]]]:
    for group in table.groups:
        if group.title in FACTORS:
            for unit in dict.fromkeys(line.unit for line in group.lines):
                symbol = names.unit(unit)
                title = f"{group.title}, {symbol}" if symbol else group.title
                yield title, [line for line in group.lines if line.unit == unit]


def _bars(ax: Axes, table: Table, lines: list[Line]) -> None:
    models = table.models()
    measured = [c for line in lines for c in line.cells if c]
    lowest = min(c.value for c in measured)
    left = max(1.1 * lowest, -0.5) if lowest < -0.05 else 0.0  # how far below 0 does not matter
    right = max([1.0, *(c.high or c.value for c in measured)])
    size = len(models) + 1.2
    for row, line in enumerate(lines):
        top = row * size
        for index, (column, cell) in enumerate(zip(table.columns, line.cells, strict=True)):
            if cell and column.kind == "model":
                _bar(ax, top + index, cell, color(column.index), line.digits)
            elif cell and cell.value >= left:
                _tick(ax, cell.value, top - 0.55, top + len(models) - 0.45, column.baseline)
    ax.set_yticks(
        [row * size + (len(models) - 1) / 2 for row in range(len(lines))],
        [names.short(line.label) for line in lines],
    )
    ax.set_ylim(len(lines) * size - 0.9, -0.9)
    ax.set_xlim(left, right * 1.1)
    ax.tick_params(length=0)
    ax.grid(axis="x")
    ax.axvline(0, color=MUTED, linewidth=0.8)
    ax.spines[["left", "bottom"]].set_visible(False)


def _bar(ax: Axes, y: float, cell: Cell, tint: str, digits: int) -> None:
    ax.barh(y, cell.value, height=0.86, color=tint, linewidth=0)
    end = max(cell.value, 0.0)
    if cell.low is not None and cell.high is not None:
        ax.plot([cell.low, cell.high], [y, y], color=INK, linewidth=1.1, solid_capstyle="butt")
        end = max(end, cell.high)
    label = names.typeset(names.decimal(cell.value, digits))
    note = ax.annotate(label, (end, y), (4, 0), textcoords="offset points", va="center", fontsize=7.5)
    note.set(color=MUTED, zorder=5, bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6})


def _tick(ax: Axes, x: float, low: float, high: float, baseline: str) -> None:
    dotted = baseline == "constant"
    style = (0, (1, 1)) if dotted else "solid"
    ax.plot([x, x], [low, high], color=INK, linewidth=1.6, linestyle=style, solid_capstyle="butt")


def _logged(run: Run) -> list[str]:
    keys = dict.fromkeys(k for row in run.log for k in row if k not in SKIPPED)
    return [k for k in keys if len(run.series(k)) > 1]


def _curve(ax: Axes, models: Sequence[Model], key: str, points: int) -> None:
    axis, single = "epoch", all(len(m.runs) == 1 for m in models)
    heights: list[float] = []
    for index, model in enumerate(models):
        for run in model.runs:
            series = run.series(key)
            if len(series) < 2:
                continue
            axis = run.axis()
            smooth = thinned(smoothed(series), points)
            heights += [y for _, y in smooth]
            if single and len(series) > 20:
                ax.plot(
                    *zip(*thinned(series, points), strict=True), color=color(index), alpha=0.25, linewidth=0.7
                )
            ax.plot(*zip(*smooth, strict=True), color=color(index), linewidth=1.6 if single else 1.0)
    margin = 0.12 * (max(heights) - min(heights)) or 0.1 * abs(heights[0]) or 0.1
    ax.set_ylim(min(heights) - margin, max(heights) + margin)
    ax.set_title(names.short(names.label(key)))
    ax.set_xlabel(axis)
    ax.tick_params(length=0, labelcolor=MUTED)
    ax.locator_params(nbins=5)
    ax.grid(axis="y")
    ax.spines["left"].set_visible(False)


def smoothed(series: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Centred running mean over a fifteenth of the series; the window is cut at both ends."""
    half = len(series) // 30
    sums = [0.0]
    for _, y in series:
        sums.append(sums[-1] + y)
    result = []
    for i, (x, _) in enumerate(series):
        start, end = max(i - half, 0), min(i + half + 1, len(series))
        result.append((x, (sums[end] - sums[start]) / (end - start)))
    return result


def thinned(series: list[tuple[float, float]], points: int) -> list[tuple[float, float]]:
    """At most ``points`` evenly spaced points of a series, including the last."""
    if len(series) <= points:
        return series
    last = len(series) - 1
    return [series[round(i * last / (points - 1))] for i in range(points)]


def _bars_description(table: Table, panels: list[tuple[str, list[Line]]]) -> str:
    count = sum(len(lines) for _, lines in panels)
    titles = names.listed([table.columns[i].title for i in table.models()])
    return f"Bars of {count} factors for {titles}; the same numbers are in the table above."


@contextmanager
def matplotlib_style(settings: Any) -> Iterator[None]:
    """Matplotlib with these settings alone; a user's own style would change the figure.

    What cannot be drawn is left out without a warning: the same numbers and texts stand in a table.
    """
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        warnings.filterwarnings("ignore", "constrained_layout not applied")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def new_figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1, w_pad=0.06)  # type: ignore[union-attr, call-arg]
    return figure


def to_svg(figure: Figure, name: str, description: str) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*pt"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*pt"', r"\1", svg, count=1)
    # Several figures share a page, so ids get the figure's name.
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    for stand_in, variable in VARIABLES.items():
        svg = svg.replace(stand_in, f"var({variable})")
    head = f'<svg role="img" aria-label="{escape(description)}" class="{name}"'
    return svg.replace("<svg", head, 1).strip()
