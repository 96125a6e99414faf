"""Bar chart of a study: mean and standard deviation over seeds, a dot per seed, lines at the baselines."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equissl.report.display_names import short
from equissl.report.figures import matplotlib_style
from equissl.report.rows import number
from equissl.storage import atomic_open

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3


def draw(table: Mapping[str, Any], path: Path) -> None:
    """Write a PNG with a panel for each measure that has values."""
    with matplotlib_style({"text.parse_math": False}):  # a label called "$x$" is just that
        _draw(table, path)


def _draw(table: Mapping[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    layout = table["figure"]
    chosen = layout["measures"] or [m["name"] for m in table["measures"]]
    panels = [m for m in table["measures"] if m["name"] in chosen and _has_values(table, m["name"])]
    groups = _values(table, layout["groups"])
    series = _values(table, layout["series"]) if layout["series"] else [""]
    rows = -(-max(len(panels), 1) // COLUMNS)
    columns = min(COLUMNS, max(len(panels), 1))
    width = max(3.6, 0.9 + 0.16 * len(groups) * (len(series) + 1.2))
    figure = Figure(figsize=(min(width * columns, 24), 3.0 * rows + 0.5), layout="constrained", dpi=120)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, measure in zip(axes, panels, strict=False):
        _panel(ax, table, measure, groups, series)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    handles, names = axes[0].get_legend_handles_labels()
    if len(series) > 1 and handles:
        figure.legend(handles, names, loc="outside lower center", ncols=min(len(series), 6), frameon=False)
    figure.suptitle(short(table["title"], 120), fontsize=10)
    with atomic_open(path, "wb") as file:
        figure.savefig(file, format="png")


def _panel(
    ax: Axes, table: Mapping[str, Any], measure: Mapping[str, Any], groups: list[str], series: list[str]
) -> None:
    layout, width = table["figure"], 0.8 / len(series)
    groups = [g for g in groups if _numbers(table, measure["name"], {layout["groups"]: g})]
    reference = _numbers(table, measure["name"], table["reference"]) if table["reference"] else []
    if reference:
        label = short(", ".join(table["reference"].values()))
        ax.axhline(statistics.fmean(reference), color="black", linewidth=1.2, label=label)
    for k, kind in enumerate(series):
        labelled = False
        for position, group in enumerate(groups):
            values = _numbers(table, measure["name"], {layout["groups"]: group, layout["series"]: kind})
            if not values:
                continue
            x, mean = position + (k - (len(series) - 1) / 2) * width, statistics.fmean(values)
            ax.bar(x, mean, width * 0.92, color=f"C{k}", label=None if labelled else short(kind) or None)
            labelled = True
            if len(values) > 1:
                ax.errorbar(x, mean, statistics.stdev(values), color="black", linewidth=1, capsize=2)
            ax.plot([x] * len(values), values, ".", color="black", markersize=3)
    for kind, style in (("random", "--"), ("constant", ":")):
        level = table["baselines"][kind][measure["name"]]["mean"]
        if number(level) is not None:
            ax.axhline(level, color="grey", linewidth=0.9, linestyle=style)
    slanted: dict[str, Any] = (
        {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if len(groups) > 3 else {}
    )
    ax.set_xticks(range(len(groups)), [short(g) for g in groups], fontsize=8, **slanted)
    ax.set_title(short(measure["title"]), fontsize=9)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)


def _has_values(table: Mapping[str, Any], measure: str) -> bool:
    return any(c["values"][measure]["seeds"] for c in table["cells"])


def _values(table: Mapping[str, Any], label: str) -> list[str]:
    compared = [c["labels"] for c in table["cells"] if c["labels"] != table["reference"]]
    return list(dict.fromkeys(labels[label] for labels in compared))


def _numbers(table: Mapping[str, Any], measure: str, labels: Mapping[str, str]) -> list[float]:
    """Values of all seeds of the cells with these labels, pooled over the other labels."""
    chosen = {k: v for k, v in labels.items() if k}
    cells = [c for c in table["cells"] if all(c["labels"][k] == v for k, v in chosen.items())]
    values = [v for c in cells for v in c["values"][measure]["values"].values()]
    return [v for v in values if number(v) is not None]
