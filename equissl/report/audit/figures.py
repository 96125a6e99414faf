"""Figures of audits: scores along the layers, and against the number of images; one panel per factor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from equissl.report import display_names as names
from equissl.report.audit.readings import Audit
from equissl.report.figures import MUTED, SETTINGS, Shape, color, matplotlib_style, new_figure, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Line = tuple[int, list[float], list[float]]  # colour, x, y
MAX_PANELS = 30
LOWEST = -0.1  # how far below 0 does not matter


def profiles(audits: Sequence[Audit], shape: Shape) -> str:
    """Each factor's score after each layer; "" if no layers were audited."""
    panels: dict[str, list[Line]] = {}
    for audit in audits:
        for factor in dict.fromkeys(f for of_one in audit.layers.values() for f in of_one):
            values = [(k, v[factor]) for k, v in enumerate(audit.layers.values(), 1) if factor in v]
            if len(values) > 1:
                line = (audit.series, [float(k) for k, _ in values], [v for _, v in values])
                panels.setdefault(factor, []).append(line)
    return _draw(panels, shape, "profile", "layer", "Scores by layer")


def learning_curves(audits: Sequence[Audit], shape: Shape) -> str:
    """Each factor's score against the number of images; "" if that was not measured."""
    panels: dict[str, list[Line]] = {}
    for audit in audits:
        for r in audit.readings:
            if len(r.curve) > 1:
                line = (audit.series, [float(n) for n in r.curve], list(r.curve.values()))
                panels.setdefault(r.factor, []).append(line)
    return _draw(panels, shape, "learning", "images", "Scores by number of images")


def _draw(panels: Mapping[str, list[Line]], shape: Shape, name: str, axis: str, description: str) -> str:
    kept = list(panels.items())[:MAX_PANELS]
    if not kept:
        return ""
    columns = 4 if shape.columns > 1 else 2
    rows = math.ceil(len(kept) / columns)
    with matplotlib_style(SETTINGS):
        figure = new_figure(shape.width, 1.7 * rows + 0.3)
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for ax, (factor, lines) in zip(axes, kept, strict=False):
            _panel(ax, lines, axis)
            ax.set_title(names.short(names.label(factor), 22))
        for ax in axes[len(kept) :]:
            ax.set_axis_off()
        factors = ", ".join(names.label(f) for f, _ in kept)
        return to_svg(figure, f"{name}-{shape.name}", f"{description}: {factors}.")


def _panel(ax: Axes, lines: Sequence[Line], axis: str) -> None:
    for index, x, y in lines:
        ax.plot(x, [max(v, LOWEST) for v in y], color=color(index), linewidth=1.6, marker="o", markersize=3.5)
    ticks = sorted({v for _, x, _ in lines for v in x})
    ticks = ticks if len(ticks) < 7 else ticks[:: math.ceil(len(ticks) / 6)]
    ax.set_xticks(ticks, [f"{t:.0f}" for t in ticks])
    ax.set_ylim(LOWEST - 0.05, 1.05)
    ax.set_xlabel(axis)
    ax.axhline(0, color=MUTED, linewidth=0.8)
    ax.tick_params(length=0, labelcolor=MUTED)
    ax.grid(axis="y")
    ax.spines["left"].set_visible(False)
