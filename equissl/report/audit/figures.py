"""Figures of audits: scores along the layers and against the number of images, and sensitivity curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from equissl.report import display_names as names
from equissl.report.audit.readings import Audit
from equissl.report.figures import MUTED, SETTINGS, Shape, color, matplotlib_style, new_figure, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_PANELS = 30
LOWEST = -0.1  # how far below 0 does not matter
MAX_TICKS = 7
LONGEST = 16  # characters of a tick label
UPRIGHT = 4  # characters from which on labels stand upright, so that they do not touch
_CHARACTER = 0.085  # inches that one takes, upright


@dataclass
class Panel:
    """The lines of one factor.

    Args:
        lines: (colour, x, y).
        ticks: x -> label.
        axis: what x is.
    """

    axis: str
    lines: list[tuple[int, list[float], list[float]]] = field(default_factory=list)
    ticks: dict[float, str] = field(default_factory=dict)


def profiles(audits: Sequence[Audit], shape: Shape) -> list[tuple[tuple[Audit, ...], str]]:
    """Each factor's score after each layer, one figure for encoders whose layers have the same names."""
    by_names: dict[tuple[str, ...], list[Audit]] = {}
    for audit in audits:
        if audit.layers:
            by_names.setdefault(tuple(audit.layers), []).append(audit)
    found = []
    for number, (layers, alike) in enumerate(by_names.items()):
        panels: dict[str, Panel] = {}
        for audit in alike:
            for factor in dict.fromkeys(f for of_one in audit.layers.values() for f in of_one):
                values = {
                    float(k): v[factor].value for k, v in enumerate(audit.layers.values()) if factor in v
                }
                if len(values) > 1:
                    panel = panels.setdefault(factor, Panel("", ticks=dict(enumerate(map(_end, layers)))))
                    panel.lines.append((audit.series, list(values), list(values.values())))
        if svg := _draw(panels, shape, f"profile{number}", "Scores by layer", (LOWEST - 0.05, 1.05)):
            found.append((tuple(alike), svg))
    return found


def learning_curves(audits: Sequence[Audit], shape: Shape) -> str:
    """Each factor's score against the number of images; "" if that was not measured."""
    panels: dict[str, Panel] = {}
    for audit in audits:
        for r in audit.readings:
            if len(r.curve) > 1:
                panel = panels.setdefault(r.factor, Panel("images"))
                panel.lines.append((audit.series, [float(n) for n in r.curve], list(r.curve.values())))
                panel.ticks |= {float(n): str(n) for n in r.curve}
    return _draw(panels, shape, "learning", "Scores by number of images", (LOWEST - 0.05, 1.05))


def sensitivity(audits: Sequence[Audit], shape: Shape) -> str:
    """How far features move as a change grows; "" if that was not measured."""
    panels: dict[str, Panel] = {}
    for audit in audits:
        for found in audit.equivariance:
            if curve := found.curve:
                panel = panels.setdefault(found.factor, Panel(curve.unit))
                moved = [i.value for _, i in curve.points]
                panel.lines.append((audit.series, [float(k) for k in range(len(moved))], moved))
                panel.ticks = {float(k): f"{s:g}" for k, (s, _) in enumerate(curve.points)}
    highest = max((v for p in panels.values() for _, _, y in p.lines for v in y), default=1.0)
    return _draw(panels, shape, "sensitivity", "How far features move", (-0.05, 1.08 * max(highest, 0.1)))


def _draw(
    panels: Mapping[str, Panel], shape: Shape, name: str, description: str, limits: tuple[float, float]
) -> str:
    kept = list(panels.items())[:MAX_PANELS]
    if not kept:
        return ""
    columns = 4 if shape.columns > 1 else 2
    rows = math.ceil(len(kept) / columns)
    longest = max((len(label) for _, p in kept for label in p.ticks.values()), default=0)
    height = 1.7 + (longest * _CHARACTER if longest >= UPRIGHT else 0.0)
    with matplotlib_style(SETTINGS):
        figure = new_figure(shape.width, height * rows + 0.3)
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for ax, (factor, panel) in zip(axes, kept, strict=False):
            _panel(ax, panel, limits, upright=longest >= UPRIGHT)
            ax.set_title(names.short(names.label(factor), 22))
        for ax in axes[len(kept) :]:
            ax.set_axis_off()
        factors = ", ".join(names.label(f) for f, _ in kept)
        return to_svg(figure, f"{name}-{shape.name}", f"{description}: {factors}.")


def _panel(ax: Axes, panel: Panel, limits: tuple[float, float], upright: bool) -> None:
    for index, x, y in panel.lines:
        shown = [max(v, LOWEST) for v in y]
        ax.plot(x, shown, color=color(index), linewidth=1.6, marker="o", markersize=3.5)
    ticks = sorted(panel.ticks)
    ticks = ticks[:: math.ceil(len(ticks) / MAX_TICKS)] if ticks else []
    ax.set_xticks(ticks, [panel.ticks[t] for t in ticks])
    if upright:
        ax.tick_params(axis="x", labelrotation=90)
    ax.set_ylim(*limits)
    ax.set_xlabel(panel.axis)
    ax.axhline(0, color=MUTED, linewidth=0.8)
    ax.tick_params(length=0, labelcolor=MUTED)
    ax.grid(axis="y")
    ax.spines["left"].set_visible(False)


def _end(name: str) -> str:
    """A layer's name for an axis: its end, which tells it from the others."""
    line = names.short(name, 200)
    return line if len(line) <= LONGEST else f"…{line[1 - LONGEST :]}"
