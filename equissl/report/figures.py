"""Inline SVG figures in the colours of the page: training curves, and what other figures are made with."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from equissl.report import display_names as names
from equissl.report.models import Model
from equissl.report.rows import Run

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
MIN_POINTS = 3  # of a curve; fewer are no curve


@dataclass(frozen=True)
class Shape:
    """A width in inches and how many panels fit side by side."""

    name: str
    width: float
    columns: int


SHAPES = (Shape("wide", 10.0, 3), Shape("narrow", 3.7, 1))  # the page shows the one that fits


def color(index: int) -> str:
    return f"#0000a{index % SERIES}"


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
        panels: dict[str, list[Axes]] = {}
        for ax, key in zip(axes, keys, strict=False):
            _curve(ax, models, key, points)
            panels.setdefault(_scale(key), []).append(ax)
        for alike in panels.values():
            _share(alike, "y")
        _share(list(axes[: len(keys)]), "x")
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


def _scale(key: str) -> str:
    """What is drawn on one scale: loss terms, probes; anything else has one of its own."""
    if key.startswith("probe/"):
        return "probe"
    return "loss" if key == "loss" or "/" in key else key


def _share(axes: Sequence[Axes], which: str) -> None:
    """Give some panels the same limits, which hold all of theirs."""
    limits = [getattr(ax, f"get_{which}lim")() for ax in axes]
    for ax in axes:
        getattr(ax, f"set_{which}lim")(min(low for low, _ in limits), max(high for _, high in limits))


def _logged(run: Run) -> list[str]:
    keys = dict.fromkeys(k for row in run.log for k in row if k not in SKIPPED)
    return [k for k in keys if len(run.series(k)) >= MIN_POINTS]


def _curve(ax: Axes, models: Sequence[Model], key: str, points: int) -> None:
    axis, single = "epoch", all(len(m.runs) == 1 for m in models)
    heights: list[float] = []
    for index, model in enumerate(models):
        for run in model.runs:
            series = run.series(key)
            if len(series) < MIN_POINTS:
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
