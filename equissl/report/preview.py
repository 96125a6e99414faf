"""Example views with their parameters as one self-contained HTML file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from equissl.report import display_names as names
from equissl.report.html import save, template

Value = float | int | bool | str | tuple[float, ...] | None

UNITS = {
    "turns": (360.0, "°"),
    "radians": (180 / math.pi, "°"),
    "pixels": (1.0, "px"),
    "fraction": (1.0, ""),
    "factor": (1.0, "\N{MULTIPLICATION SIGN}"),
}


@dataclass(frozen=True)
class Parameter:
    """One augmentation parameter of all images of a view, or its change from one view to another.

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

    @property
    def shown_unit(self) -> str:
        """Degrees for turns and radians."""
        return UNITS.get(self.unit, (1.0, self.unit))[1]

    def cells(self) -> list[str]:
        """The values as text, in ``shown_unit``, with as many decimals as their size needs."""
        values = [self._converted(v) for v in self.values]
        numbers = [v for v in values if isinstance(v, float)]
        shown = min(2, names.digits(numbers)) if self.shown_unit == "°" else max(2, names.digits(numbers))
        return [_text(value, shown) for value in values]

    def neutral_text(self) -> str:
        if self.neutral_value is None:
            return ""
        return _text(self._converted(self.neutral_value), 2).removesuffix(".00")

    def _converted(self, value: Value) -> Value:
        return value * UNITS.get(self.unit, (1.0, ""))[0] if isinstance(value, float) else value


@dataclass(frozen=True)
class ViewExamples:
    """One view of some images.

    Args:
        policy: its augmentations, one per step: what it is, and its settings.
        positions: of the source of each image, among those of the page.
        images, replays: data URIs, one per image; "neutral" is the first source under neutral
            parameters, "" if there is none.
        differences: largest absolute difference between image and replay, on [0, 1], one per image.
        neutral_gap: largest difference between "neutral" and its source; None for one of another size.
        sampled_again: whether sampling again from seed, epoch, image and view gives the same parameters.
    """

    name: str
    policy: Sequence[tuple[str, str]]
    parameters: Sequence[Parameter]
    positions: Sequence[int]
    images: Sequence[str]
    replays: Sequence[str]
    differences: Sequence[float]
    neutral: str = ""
    neutral_gap: float | None = None
    sampled_again: bool = True

    @property
    def difference(self) -> float:
        return max(self.differences, default=0.0)

    def of(self, position: int) -> list[tuple[str, int]]:
        """Label and index of every image of a source."""
        found = [k for k, p in enumerate(self.positions) if p == position]
        return [(self.name if len(found) == 1 else f"{self.name} {n}", k) for n, k in enumerate(found)]


@dataclass(frozen=True)
class ParameterChange:
    """What takes one view of every image to another."""

    name: str
    parameters: Sequence[Parameter]


@dataclass(frozen=True)
class ShownImage:
    """One image, a source or a view; ``replay`` is empty if it equals the image."""

    label: str
    image: str
    replay: str
    difference: float


@dataclass(frozen=True)
class ParameterRow:
    """One parameter under every view of one image: (text, whether it was applied)."""

    label: str
    unit: str
    neutral: str
    cells: Sequence[tuple[str, bool]]


@dataclass(frozen=True)
class ImageCard:
    """One image, its views, and their parameters."""

    caption: str
    shown: Sequence[ShownImage]
    columns: Sequence[str]
    rows: Sequence[ParameterRow]


@dataclass(frozen=True)
class Preview:
    """A page of example views.

    Args:
        files: names of the images.
        sources: data URIs of the images, by what to call them ("source"; two of a pair).
        summary: facts of how the page was made.
    """

    title: str
    summary: Sequence[tuple[str, str]]
    files: Sequence[str] = ()
    sources: Mapping[str, Sequence[str]] = field(default_factory=dict)
    views: Sequence[ViewExamples] = ()
    changes: Sequence[ParameterChange] = ()

    @property
    def difference(self) -> float:
        """The largest absolute difference between a view and its replay."""
        return max((v.difference for v in self.views), default=0.0)

    @property
    def sampled_otherwise(self) -> str:
        """Names of the views whose parameters are others when they are sampled again; "" for none."""
        return ", ".join(v.name for v in self.views if not v.sampled_again)

    def policies(self) -> list[tuple[str, ViewExamples]]:
        """Each policy once, with the names of all its views."""
        found: dict[tuple[object, str], list[ViewExamples]] = {}
        for view in self.views:
            found.setdefault((tuple(view.policy), view.neutral), []).append(view)
        return [(names.listed([v.name for v in alike]), alike[0]) for alike in found.values()]

    def cards(self) -> Iterator[ImageCard]:
        """Every image with its views; a view that leaves all images as they are is named with its source."""
        plain = {n: [v for v in self.views if list(v.images) == list(s)] for n, s in self.sources.items()}
        unchanged = [v.name for views in plain.values() for v in views]
        for position, file in enumerate(self.files):
            entries = [(v, label, k) for v in self.views for label, k in v.of(position)]
            shown = [
                ShownImage(", ".join([n, *(v.name for v in plain[n])]), s[position], "", 0.0)
                for n, s in self.sources.items()
            ]
            shown += [
                ShownImage(label, v.images[k], v.replays[k] if v.differences[k] else "", v.differences[k])
                for v, label, k in entries
                if v.name not in unchanged
            ]
            columns = [(label, v.parameters, k) for v, label, k in entries if v.parameters]
            columns += [(c.name, c.parameters, position) for c in self.changes]
            yield ImageCard(file, shown, [c[0] for c in columns], _rows([c[1:] for c in columns]))


def write_preview(preview: Preview, out: Path) -> Path:
    """Write the page to ``out``, whole or not at all."""
    return save(template("preview.html.j2").render(preview=preview, cards=list(preview.cards())), out)


def _rows(columns: Sequence[tuple[Sequence[Parameter], int]]) -> list[ParameterRow]:
    by_name = {p.name: p for parameters, _ in reversed(columns) for p in parameters}
    order = dict.fromkeys(p.name for parameters, _ in columns for p in parameters)
    rows = []
    for name in order:
        first = by_name[name]
        found = [(next((p for p in ps if p.name == name), None), k) for ps, k in columns]
        cells = [(p.cells()[k], bool(p.applied[k])) if p else ("", True) for p, k in found]
        rows.append(ParameterRow(names.label(name), first.shown_unit, first.neutral_text(), cells))
    return rows


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
