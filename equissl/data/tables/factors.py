"""Measured factors: from the cells of a table to a ``Factor`` and its values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equissl.config.validation import Checked
from equissl.data.files.labels import natural
from equissl.data.files.names import nfc
from equissl.data.tables.cells import Cells
from equissl.data.tables.kinds import DEGREES, Choice
from equissl.errors import UserError, nearest
from equissl.params import Binary, Circular, Cyclic, Real, Rotation

MAX_LEVELS = 1000  # of a category
_BINARY = {"0": 0.0, "no": 0.0, "false": 0.0, "0.0": 0.0, "1": 1.0, "yes": 1.0, "true": 1.0, "1.0": 1.0}
_DAY = 86_400.0  # seconds
_ROUNDING = 0.01  # of the deviation: the most that values may lose in single precision
_TOO_LARGE = 1e30  # for single precision and squares
_NORM = 0.01  # by which the length of a quaternion may differ from 1


@dataclass(frozen=True, kw_only=True)
class MeasuredFactor(Checked):
    """A factor that columns of a table measure, with what its kind needs to know of the whole table.

    Args:
        factor: its kind; of a real number with the mean and the standard deviation of the table.
        columns: names of its columns, four of a quaternion.
        start: the time that counts as day 0, as ISO 8601; of times only.
    """

    factor: Real | Circular | Binary | Cyclic | Rotation
    columns: tuple[str, ...]
    start: str = ""

    @property
    def levels(self) -> tuple[str, ...]:
        """The values of a category, by index; empty of another kind."""
        return self.factor.levels if isinstance(self.factor, Cyclic) else ()


def measured_factor(choice: Choice, cells: Cells) -> MeasuredFactor:
    """What a table measures as it was chosen.

    Raises:
        UserError: a cell is no value of that kind, or the values do not fit it; names table, line and column.
    """
    return _SETTLE[choice.kind.word](choice, cells)


def values(measured: MeasuredFactor, cells: Cells) -> Tensor:
    """(N, factor.size) float32, the values of every row.

    Raises:
        UserError: a column is missing, a cell is no value of that kind, or no level of the category.
    """
    for name in measured.columns:
        if name not in cells.columns:
            raise cells.error(f"it has no column {name!r}; {nearest(name, cells.columns)}")
    found = _VALUES[type(measured.factor)](measured, cells)
    return torch.from_numpy(np.ascontiguousarray(found, dtype=np.float32)).reshape(len(cells), -1)


def _settle_real(choice: Choice, cells: Cells) -> MeasuredFactor:
    return _real(choice, cells, _numbers(cells, choice.name), "")


def _settle_time(choice: Choice, cells: Cells) -> MeasuredFactor:
    times = _times(cells, choice.name)
    start = min(times)
    return _real(choice, cells, _days(times, start), start.isoformat())


def _real(choice: Choice, cells: Cells, numbers: NDArray[np.float64], start: str) -> MeasuredFactor:
    mean, deviation = float(numbers.mean()), float(numbers.std())
    _check_precision(cells, choice.name, numbers, deviation)
    unit = "days" if start else ""
    factor = Real(choice.name, unit=unit, neutral_value=mean, scale=deviation or 1.0)
    return MeasuredFactor(factor=factor, columns=choice.columns, start=start)


def _settle_circular(choice: Choice, cells: Cells) -> MeasuredFactor:
    numbers, period = _numbers(cells, choice.name), choice.kind.period
    span = float(numbers.max() - numbers.min())
    if span > period * (1 + 1e-6):
        raise cells.error(
            f"{choice.name} is {choice.kind} by {choice.source}, but its values lie from {numbers.min():g} "
            f"to {numbers.max():g}, more than a period; give it the right period, take the values modulo "
            f"{period:g}, or call it real: data.factors={choice.name}:real"
        )
    _check_precision(cells, choice.name, numbers, span / 4)
    unit = "degrees" if choice.name.endswith(DEGREES) else "turns" if period == 1 else ""
    return MeasuredFactor(factor=Circular(choice.name, unit=unit, period=period), columns=choice.columns)


def _settle_binary(choice: Choice, cells: Cells) -> MeasuredFactor:
    return MeasuredFactor(factor=Binary(choice.name), columns=choice.columns)


def _settle_category(choice: Choice, cells: Cells) -> MeasuredFactor:
    levels = sorted(set(_filled(cells, choice.name)), key=natural)
    if len(levels) > MAX_LEVELS:
        raise cells.error(
            f"{choice.name} is a category by {choice.source}, but it has {len(levels):,} different values, "
            f"such as {levels[0][:60]!r} and {levels[1][:60]!r}; a category may have {MAX_LEVELS:,}. Call "
            "numbers real, and name the column that tells objects apart as data.group"
        )
    factor = Cyclic(choice.name, order=len(levels), levels=tuple(levels))
    return MeasuredFactor(factor=factor, columns=choice.columns)


def _settle_quaternion(choice: Choice, cells: Cells) -> MeasuredFactor:
    return MeasuredFactor(factor=Rotation(choice.name, unit="quaternion"), columns=choice.columns)


def _real_values(measured: MeasuredFactor, cells: Cells) -> NDArray[np.float64]:
    (name,) = measured.columns
    if not measured.start:
        return _numbers(cells, name)
    return _days(_times(cells, name), datetime.fromisoformat(measured.start))


def _circular_values(measured: MeasuredFactor, cells: Cells) -> NDArray[np.float64]:
    return _numbers(cells, measured.columns[0])


def _binary_values(measured: MeasuredFactor, cells: Cells) -> NDArray[np.float64]:
    (name,) = measured.columns
    expected = "expected 0 or 1, yes or no, true or false; call it a category otherwise"
    return _looked_up(cells, name, [t.lower() for t in _filled(cells, name)], _BINARY, expected)


def _category_values(measured: MeasuredFactor, cells: Cells) -> NDArray[np.float64]:
    (name,) = measured.columns
    numbers = {level: float(k) for k, level in enumerate(measured.levels)}
    known = ", ".join(measured.levels[:12])
    expected = f"not among the {len(numbers)} values of the category ({known[:200]})"
    return _looked_up(cells, name, _filled(cells, name), numbers, expected)


def _quaternion_values(measured: MeasuredFactor, cells: Cells) -> NDArray[np.float64]:
    parts = np.stack([_numbers(cells, name) for name in measured.columns], 1)
    norms = np.linalg.norm(parts, axis=1)
    wrong = np.flatnonzero(np.abs(norms - 1) > _NORM)
    if len(wrong):
        row = int(wrong[0])
        raise cells.error(
            f"{measured.factor.name} is no unit quaternion: its length is {norms[row]:.4g} (so in "
            f"{len(wrong):,} of {len(cells):,} rows); the columns are {', '.join(measured.columns)}, w first",
            row,
        )
    unit: NDArray[np.float64] = parts / norms[:, None]
    return unit


def _looked_up(
    cells: Cells, name: str, texts: Sequence[str], numbers: Mapping[str, float], expected: str
) -> NDArray[np.float64]:
    try:
        return np.array([numbers[text] for text in texts])
    except KeyError:
        row = next(k for k, text in enumerate(texts) if text not in numbers)
    raise cells.error(f"{name} is {texts[row][:60]!r}; {expected}", row)


def _filled(cells: Cells, name: str) -> list[str]:
    """The texts of a column in Unicode's composed form; none is empty."""
    texts = cells.texts(name)
    if "" in texts:
        raise cells.error(_unusable(name, "empty"), texts.index(""))
    return texts if all(map(str.isascii, texts)) else [nfc(text) for text in texts]


def _numbers(cells: Cells, name: str) -> NDArray[np.float64]:
    """The cells of a column as finite numbers."""
    column = cells.columns[name]
    try:
        numbers = np.asarray(column, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        row = next(k for k, cell in enumerate(column) if not _is_number(cell))
        raise cells.error(_no_number(name, column[row]), row) from None
    if numbers.ndim != 1:
        raise cells.error(f"{name} holds lists; expected numbers")
    usual = np.abs(numbers) < _TOO_LARGE  # not of NaN
    if not usual.all():
        row = int(np.flatnonzero(~usual)[0])
        raise cells.error(_unusable(name, "empty" if column[row] is None else column[row]), row)
    return numbers


def _unusable(name: str, what: object) -> str:
    return (
        f"{name} is {str(what)[:60]}; a factor needs a value in every row: leave out the row, or the factor "
        f"by data.factors={name}:none"
    )


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _no_number(name: str, cell: Any) -> str:
    if isinstance(cell, str) and not cell.strip():
        return _unusable(name, "empty")
    comma = isinstance(cell, str) and _is_number(cell.replace(",", ".", 1))
    hint = "write decimals with a point" if comma else f"or call it a category: {name}:category"
    return f"{name} is {str(cell)[:60]!r}; expected a number, {hint}"


def _times(cells: Cells, name: str) -> list[datetime]:
    texts = _filled(cells, name)
    times: list[datetime] = []
    for row, text in enumerate(texts):
        try:
            times.append(datetime.fromisoformat(text))
        except ValueError:
            raise cells.error(
                f"{name} is {text[:60]!r}; expected a time, such as 2024-05-31 or 2024-05-31T14:30", row
            ) from None
        if (times[-1].tzinfo is None) != (times[0].tzinfo is None):
            raise cells.error(f"{name} has a time zone in some rows only, not as in the first row", row)
    return times


def _days(times: Sequence[datetime], start: datetime) -> NDArray[np.float64]:
    try:
        return np.array([(time - start).total_seconds() for time in times]) / _DAY
    except TypeError:
        raise UserError("data: times with and without time zones cannot be compared") from None


def _check_precision(cells: Cells, name: str, numbers: NDArray[np.float64], deviation: float) -> None:
    largest = float(np.abs(numbers).max())
    if largest * np.finfo(np.float32).eps > _ROUNDING * deviation > 0:
        raise cells.error(
            f"{name} lies near {largest:.6g} and varies by {deviation:.3g} only, too little for single "
            "precision; subtract a constant, or divide it"
        )


_SETTLE: Mapping[str, Callable[[Choice, Cells], MeasuredFactor]] = {
    "real": _settle_real,
    "circular": _settle_circular,
    "binary": _settle_binary,
    "category": _settle_category,
    "quaternion": _settle_quaternion,
    "time": _settle_time,
}
_VALUES: Mapping[type, Callable[[MeasuredFactor, Cells], NDArray[np.float64]]] = {
    Real: _real_values,
    Circular: _circular_values,
    Binary: _binary_values,
    Cyclic: _category_values,
    Rotation: _quaternion_values,
}
