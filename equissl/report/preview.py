"""Example views with their parameters as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from equissl.report import display_names as names
from equissl.report.html import save, template

Value = float | int | bool | str | tuple[float, ...] | None


@dataclass(frozen=True)
class Parameter:
    """One parameter of every image in a section.

    Args:
        neutral_value: ``None`` where the values are changes.
        values: one per image.
        applied: one flag per image; where False the value is the neutral one.
    """

    name: str
    unit: str
    neutral_value: Value
    values: Sequence[Value]
    applied: Sequence[bool]

    def cells(self) -> list[str]:
        """The values as text, with as many decimals as their size needs."""
        numbers = [v for v in self.values if isinstance(v, float)]
        shown = max(2, names.digits(numbers)) if numbers else 0
        return [_text(value, shown) for value in self.values]

    def neutral_text(self) -> str:
        return "" if self.neutral_value is None else _text(self.neutral_value, 2).removesuffix(".00")


@dataclass(frozen=True)
class Section:
    """One view of some images, or the change from one view to another (then without images).

    Args:
        policy: its augmentations, one line per step.
        sources, views, replays: data URIs, one per image; "neutral" is the first image under neutral
            parameters, "" if there is none.
        differences: largest absolute difference between view and replay, on [0, 1], one per image.
        notes: sentences below the table.
    """

    title: str
    policy: Sequence[str]
    parameters: Sequence[Parameter]
    captions: Sequence[str]
    sources: Sequence[str] = ()
    views: Sequence[str] = ()
    replays: Sequence[str] = ()
    differences: Sequence[float] = ()
    neutral: str = ""
    notes: Sequence[str] = ()

    @property
    def difference(self) -> float:
        return max(self.differences, default=0.0)


@dataclass(frozen=True)
class Preview:
    """A page of example views."""

    title: str
    summary: Sequence[tuple[str, str]]
    sections: Sequence[Section]

    @property
    def difference(self) -> float:
        """The largest absolute difference between a view and its replay."""
        return max((s.difference for s in self.sections), default=0.0)


def write_preview(preview: Preview, out: Path) -> Path:
    """Write the page to ``out``, whole or not at all."""
    return save(template("preview.html.j2").render(preview=preview), out)


def _text(value: Value, shown: int) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case tuple():
            return " ".join(_text(v, shown) for v in value)
        case float():
            return names.decimal(value, shown)
    return str(value)
