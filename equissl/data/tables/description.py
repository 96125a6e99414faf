"""A table in words: its columns and how their kinds were decided, its groups, splits, and confounding."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from equissl.data.base import Split
from equissl.data.files.measurements import Measurements
from equissl.data.files.scan import Listing
from equissl.data.files.split import split_indices
from equissl.data.tables.cells import Cells
from equissl.data.tables.confounding import explained_by_classes, pairs, sampled_rows
from equissl.data.tables.factors import MeasuredFactor
from equissl.data.tables.kinds import Choice
from equissl.data.tables.listing import group_names
from equissl.data.tables.schema import TableSchema, schema_file
from equissl.errors import UserError
from equissl.params import Binary, Circular, Cyclic, Real, Rotation
from equissl.text import printable

_SMALL_SPAN = 0.1  # of a period: values that cover less may be in other units
_MANY_LEVELS = 0.5  # levels per image
_MAX_NAMED = 12
_MAX_COMPARED = 20_000  # images, in whole groups, that confounding is measured on


@dataclass(frozen=True)
class TableContent:
    """A table that was read: cells, what the columns are, how that was chosen, and its files."""

    cells: Cells
    schema: TableSchema
    choices: tuple[Choice, ...]
    listing: Listing

    @property
    def known(self) -> Measurements:
        return self.listing.measurements


def describe(content: TableContent, test_fraction: float) -> list[str]:
    """Lines on a table: columns, groups, labels, splits, confounding, warnings."""
    cells, schema = content.cells, content.schema
    text = [f"table: {len(cells):,} rows; paths in the column {printable(cells.file_column)}"]
    sources = {choice.name: choice for choice in content.choices}
    text += [f"factor {_factor_line(m, content, sources.get(m.factor.name))}" for m in schema.factors]
    text += filter(None, [_unused_line(content)])
    text += [_group_line(content), _label_line(content), *filter(None, [_overlap_line(content)])]
    text += _split_lines(content, test_fraction)
    text += _confounding_lines(content)
    return text + [f"warning: {line}" for line in remarks(content)]


def remarks(content: TableContent) -> Iterator[str]:
    """What is odd about a table, a sentence each."""
    known, schema = content.known, content.schema
    for measured in schema.factors:
        yield from _factor_remarks(measured, content)
    if schema.group:
        counts = torch.unique(known.groups, return_counts=True)[1]
        if alone := int((counts == 1).sum()):
            yield (
                f"{alone:,} of {len(counts):,} groups have one image only, which is its own partner, without "
                "any change"
            )


def _factor_remarks(measured: MeasuredFactor, content: TableContent) -> Iterator[str]:
    factor, values = measured.factor, content.known.params.values[measured.factor.name].double()
    encoded = values if isinstance(factor, Cyclic) else factor.encode(values)
    if float((encoded - encoded[:1]).abs().max()) < 1e-6:
        yield f"{factor.name} has one value only, so nothing can be learned or measured of it"
    elif isinstance(factor, Circular) and (span := float(values.max() - values.min())) < (
        _SMALL_SPAN * factor.period
    ):
        hint = f"are they radians (circular({2 * math.pi:.6g}))? " if factor.period == 360 else ""
        yield (
            f"{factor.name} covers {100 * span / factor.period:.2g} % of its period {factor.period:g}; "
            f"{hint}if it does not go round, call it real: data.factors={factor.name}:real"
        )
    elif len(measured.levels) > max(2, _MANY_LEVELS * len(values)):
        yield (
            f"{factor.name} has {len(measured.levels):,} values in {len(values):,} rows, as a name has, not "
            "a category"
        )


def _factor_line(measured: MeasuredFactor, content: TableContent, choice: Choice | None) -> str:
    factor = measured.factor
    values = content.known.params.values[factor.name].double()
    kind = f"{choice.kind} by {choice.source}" if choice else "as the run keeps it"
    low, high = float(values.min()), float(values.max())
    match factor:
        case Real() if measured.start:
            shown = f"{high - low:.6g} days from {printable(measured.start)}"
        case Real():
            shown = f"{low:.6g} to {high:.6g}, mean {factor.neutral_value:.4g}, deviation {factor.scale:.4g}"
        case Circular():
            shown = f"{low:.6g} to {high:.6g}, {len(torch.unique(values)):,} different values"
        case Binary():
            shown = f"{100 * float(values.mean()):.0f} % are 1"
        case Cyclic():
            counts = torch.bincount(values[:, 0].long(), minlength=factor.order).tolist()
            shown = _counted(dict(zip(measured.levels, counts, strict=True)))
        case Rotation():
            shown = f"columns {', '.join(measured.columns)}"
    return f"{printable(factor.name)}: {kind}; {shown}"


def _unused_line(content: TableContent) -> str:
    cells, schema = content.cells, content.schema
    used = {cells.file_column, schema.group, schema.label, *(c for m in schema.factors for c in m.columns)}
    rest = [name for name in cells.columns if name not in used]
    if not rest:
        return ""
    first, more = printable(rest[0]), ", ..." if len(rest) > _MAX_NAMED else ""
    return (
        f"not used: {', '.join(map(printable, rest[:_MAX_NAMED]))}{more}; a column is a factor by "
        f"data.factors={first}:real, by the header {first}:real, or in {schema_file(cells.path).name}"
    )


def _group_line(content: TableContent) -> str:
    schema = content.schema
    if not schema.group:
        return "groups: none, so there are no pairs; data.group=COLUMN names what images have in common"
    counts = torch.unique(content.known.groups, return_counts=True)[1]
    low, high, middle = int(counts.min()), int(counts.max()), int(counts.median())
    sizes = f"{low} images each" if low == high else f"{low} to {high} images, median {middle}"
    return f"groups: {len(counts):,} by the column {printable(schema.group)}, {sizes}"


def _label_line(content: TableContent) -> str:
    listing, label = content.listing, content.schema.label
    if not label:
        return "labels: none; data.label=COLUMN names a column of them"
    counts = Counter(listing.classes[t] if t >= 0 else "(none)" for t in listing.targets)
    return f"labels: {len(listing.classes):,} classes by the column {printable(label)}: {_counted(counts)}"


def _overlap_line(content: TableContent) -> str:
    """Whether labels differ within groups."""
    if not (content.schema.group and content.schema.label):
        return ""
    both = torch.stack([content.known.groups, torch.tensor(content.listing.targets)], 1)
    per_group = torch.unique(torch.unique(both, dim=0)[:, 0], return_counts=True)[1]
    several = int((per_group > 1).sum())
    return f"labels within groups: {several:,} of {len(per_group):,} groups have several"


def _split_lines(content: TableContent, test_fraction: float) -> Iterator[str]:
    listing, schema = content.listing, content.schema
    names = group_names(content.cells, schema, listing.files) if schema.group else []
    rows: dict[Split, list[int]] = {}
    try:
        for split in ("train", "test"):
            by = names if schema.split_by == "group" else ()
            rows[split] = split_indices(listing.root, listing.files, split, test_fraction, by)
    except UserError as error:
        yield f"splits: {error}"
        return
    line = f"splits: {len(rows['train']):,} images to train on, {len(rows['test']):,} to test on"
    if schema.split_by == "group":
        train, test = (len({names[k] for k in r}) for r in rows.values())
        yield f"{line}, by whole groups, {train:,} and {test:,}"
        if test == 1:
            yield "one group only to test on, so scores say nothing of others; more with data.test_fraction"
        return
    yield line
    if names:
        both = len({names[k] for k in rows["train"]} & {names[k] for k in rows["test"]})
        if both:
            yield (
                f"{both:,} of {len(set(names)):,} groups are in both splits, so scores are of groups seen in "
                "training; data.split_by=group keeps them together"
            )


def _confounding_lines(content: TableContent) -> Iterator[str]:
    schema, rows = content.schema, sampled_rows(content.known.groups, _MAX_COMPARED)
    known = content.known.select(rows)
    partitions = {"the label": torch.tensor(content.listing.targets)[rows]} if schema.label else {}
    partitions |= {"the group": known.groups} if schema.group else {}
    for factor in known.params.space:
        encoded = factor.encode(known.params.values[factor.name])
        parts = {by: explained_by_classes(encoded, classes) for by, classes in partitions.items()}
        if parts:
            said = ", ".join(f"{by} {_percent(part)}" for by, part in parts.items())
            yield f"confounding: {said} of the variance of {printable(factor.name)}"
    for name, other, part in pairs(known.params):
        yield f"confounding: {printable(other)} explains {100 * part:.0f} % of {printable(name)}, linearly"


def _percent(part: float) -> str:
    return "explains an unknown part" if math.isnan(part) else f"explains {100 * part:.0f} %"


def _counted(counts: dict[str, int] | Counter[str]) -> str:
    shown: Sequence[tuple[str, int]] = list(counts.items())[:_MAX_NAMED]
    text = ", ".join(f"{printable(name)} {count:,}" for name, count in shown)
    return f"{text}, ..." if len(counts) > _MAX_NAMED else text
