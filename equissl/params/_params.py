"""Named factors in a fixed order, and one value per image for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.distributed import to_device
from equissl.errors import nearest
from equissl.params._factor import Factor


@dataclass(frozen=True)
class Space:
    """Named factors of variation of a set of images, in a fixed order.

    >>> from equissl.params import Binary, Circular, Space
    >>> space = Space((Circular("hue", period=1.0), Binary("flip")))
    >>> space.names, space.encoded_size
    (('hue', 'flip'), 3)
    """

    factors: tuple[Factor, ...] = ()

    def __post_init__(self) -> None:
        twice = sorted({n for n in self.names if self.names.count(n) > 1})
        if twice:
            raise ValueError(f"factor names must differ, but {twice} occur twice")

    def __iter__(self) -> Iterator[Factor]:
        return iter(self.factors)

    def __len__(self) -> int:
        return len(self.factors)

    def __add__(self, other: Space) -> Space:
        return Space(self.factors + other.factors)

    def __getitem__(self, name: str) -> Factor:
        return self.select([name]).factors[0]

    def __or__(self, other: Space) -> Space:
        """The union; a factor in both is pooled (two views may draw it from different ranges)."""
        mine = {f.name: f for f in self}
        shared = {f.name: mine[f.name].pooled(f) for f in other if f.name in mine}
        kept = tuple(shared.get(f.name, f) for f in self)
        return Space(kept + tuple(f for f in other if f.name not in mine))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.factors)

    @property
    def encoded_size(self) -> int:
        return sum(f.encoded_size for f in self.factors)

    def select(self, names: Sequence[str]) -> Space:
        """The factors called ``names``, in this space's order.

        Raises:
            KeyError: a name is not in this space.
        """
        missing = [n for n in names if n not in self.names]
        if missing:
            raise KeyError(f"no factor named {missing[0]!r}; {nearest(missing[0], self.names)}")
        return Space(tuple(f for f in self.factors if f.name in names))

    def relative(self) -> Space:
        return Space(tuple(f.relative() for f in self.factors))

    def neutral(self, n: int) -> Params:
        """Neutral values of ``n`` images: nothing was applied."""
        off = torch.zeros(n, dtype=torch.bool)
        values = {f.name: f.neutral(n) for f in self}
        return Params(self, values, {f.name: off for f in self}, n)


@dataclass(frozen=True)
class Params:
    """One value per image for every factor of a space, and whether each was applied.

    Args:
        values: factor name -> (B, factor.size), float.
        applied: factor name -> (B,), bool; where False the value is the factor's neutral one.
        count: B, so that an empty space has a length too.

    >>> import torch
    >>> from equissl.params import Circular, Params, Space
    >>> params = Params.of(Space((Circular("hue", period=1.0),)), {"hue": torch.tensor([[0.0], [0.25]])})
    >>> len(params), params.encode().shape
    (2, torch.Size([2, 2]))
    """

    space: Space
    values: Mapping[str, Tensor]
    applied: Mapping[str, Tensor]
    count: int

    def __post_init__(self) -> None:
        names = set(self.space.names)
        if set(self.values) != names or set(self.applied) != names:
            raise ValueError(
                f"values for {sorted(self.values)} and flags for {sorted(self.applied)}, "
                f"but the factors are {self.space.names}"
            )
        for f in self.space:
            shape = tuple(self.values[f.name].shape)
            if shape != (self.count, f.size):
                raise ValueError(f"{f.name} must have shape {(self.count, f.size)}, got {shape}")

    @staticmethod
    def of(
        space: Space,
        values: Mapping[str, Tensor],
        applied: Tensor | None = None,
        count: int | None = None,
    ) -> Params:
        """Values with one flag for all factors; where ``applied`` is False they become neutral.

        Args:
            applied: (B,) bool, everything applied if absent.
            count: needed for an empty space only.
        """
        n = len(next(iter(values.values()))) if values else count or 0
        if applied is None:
            first = next(iter(values.values()), torch.empty(0))
            on = torch.ones(n, dtype=torch.bool, device=first.device)
            return Params(space, dict(values), {f.name: on for f in space}, n)
        masked = {}
        for f in space:
            value = values[f.name]
            neutral = f.neutral(1).to(value, non_blocking=True)  # a blocking copy would stall each step
            masked[f.name] = torch.where(applied[:, None], value, neutral)
        return Params(space, masked, {f.name: applied for f in space}, n)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: Tensor | slice) -> Params:
        """The images ``rows``, a slice or integer or bool (n,)."""
        values = {k: v[rows] for k, v in self.values.items()}
        flags = {k: v[rows] for k, v in self.applied.items()}
        if isinstance(rows, slice):
            n = len(range(*rows.indices(self.count)))
        else:
            n = int(rows.sum()) if rows.dtype == torch.bool else len(rows)
        return Params(self.space, values, flags, n)

    def __or__(self, other: Params) -> Params:
        """Factors of both, side by side; a name in both is an error."""
        return merge([self, other], self.count)

    def select(self, names: Sequence[str]) -> Params:
        space = self.space.select(names)
        values = {f.name: self.values[f.name] for f in space}
        return Params(space, values, {f.name: self.applied[f.name] for f in space}, self.count)

    def encode(self) -> Tensor:
        """All factors side by side: (B, space.encoded_size)."""
        parts = [f.encode(self.values[f.name]) for f in self.space]
        return torch.cat(parts, 1) if parts else torch.empty(self.count, 0)

    def to(self, device: torch.device | str) -> Params:
        values = {k: to_device(v, device) for k, v in self.values.items()}
        flags = {k: to_device(v, device) for k, v in self.applied.items()}
        return Params(self.space, values, flags, self.count)

    @property
    def device(self) -> torch.device | None:
        """Where the values are; None if there are none."""
        return next((v.device for v in self.values.values()), None)

    def filled(self, space: Space, device: torch.device | None = None) -> Params:
        """The values of ``space``'s factors; a factor that is missing here is neutral.

        Args:
            device: where the result is; with the values if absent.
        """
        device = device or self.device
        missing = Space(tuple(f for f in space if f.name not in self.values)).neutral(self.count)
        present = {**missing.values, **self.values}
        flags = {**missing.applied, **self.applied}
        values = {n: present[n].to(device, non_blocking=True) for n in space.names}
        applied = {n: flags[n].to(device, non_blocking=True) for n in space.names}
        return Params(space, values, applied, self.count)


def merge(parts: Sequence[Params], count: int) -> Params:
    """Parameters of the same ``count`` images side by side; a name in two of them is an error."""
    space = Space(tuple(f for part in parts for f in part.space))
    values = {name: value for part in parts for name, value in part.values.items()}
    flags = {name: flag for part in parts for name, flag in part.applied.items()}
    return Params(space, values, flags, count)


def concatenate(parts: Sequence[Params]) -> Params:
    """Concatenate batches of one space along the batch dimension."""
    first = parts[0]
    values = {n: torch.cat([p.values[n] for p in parts]) for n in first.space.names}
    flags = {n: torch.cat([p.applied[n] for p in parts]) for n in first.space.names}
    return Params(first.space, values, flags, sum(p.count for p in parts))


def between(source: Params, target: Params, space: Space) -> Params:
    """Relative parameters: the transformation from ``source`` to ``target``, for the factors of ``space``.

    A missing factor is neutral, so "original image -> augmented view" and "render 1 -> render 2" are the same
    call. Returns values of ``space.relative()``.

    >>> import torch
    >>> from equissl.params import Circular, Params, Space, between
    >>> space = Space((Circular("hue", period=1.0),))
    >>> a, b = (Params.of(space, {"hue": torch.tensor([[v]])}) for v in (0.75, 0.0))
    >>> between(a, b, space).values["hue"]
    tensor([[0.2500]])
    """
    device = target.device or source.device
    a, b = source.filled(space, device), target.filled(space, device)
    values, flags = {}, {}
    for f in space:
        start, end = a.values[f.name], b.values[f.name]
        values[f.name] = f.between(start, end)
        flags[f.name] = a.applied[f.name] | b.applied[f.name]
    return Params(space.relative(), values, flags, target.count)


def interpolate(start: Params, end: Params, fraction: float) -> Params:
    """Interpolated parameters, a ``fraction`` in [0, 1] of the way from ``start`` to ``end``.

    Raises:
        ValueError: the two do not share a space.
        TypeError: a factor cannot be interpolated and differs between the two; on a GPU, which nothing here
            waits for, its kernel fails instead.

    >>> import torch
    >>> from equissl.params import Params, Real, Space, interpolate
    >>> space = Space((Real("shift"),))
    >>> end = Params.of(space, {"shift": torch.tensor([[2.0]])})
    >>> interpolate(space.neutral(1), end, 0.25).values["shift"]
    tensor([[0.5000]])
    """
    if start.space != end.space:
        raise ValueError(f"cannot interpolate between the factors {start.space.names} and {end.space.names}")
    values, flags = {}, {}
    for f in start.space:
        n = f.name
        a, b = start.values[n], end.values[n]
        try:
            values[n] = torch.where((a == b).all(), a, f.interpolate(a, b, fraction))  # never read back
        except TypeError:
            if a is not b:
                _check_equal(n, a, b)
            values[n] = a
        flags[n] = start.applied[n] | end.applied[n]
    return Params(start.space, values, flags, start.count)


def _check_equal(name: str, start: Tensor, end: Tensor) -> None:
    message = f"{name} cannot be interpolated, and differs between the two"
    if start.device.type != "cpu":
        torch._assert_async((start == end).all(), message)
    elif not torch.equal(start, end):
        raise TypeError(message)


def union(spaces: Mapping[str, Space], views: Sequence[str]) -> Space:
    """The union of the factors of the named views."""
    result = Space()
    for view in views:
        result = result | spaces[view]
    return result


def factor_errors(space: Space, predictions: Tensor, targets: Params) -> dict[str, Tensor]:
    """Mean error per factor of predictions (B, space.encoded_size): factor name -> scalar."""
    parts = torch.split(predictions, [f.encoded_size for f in space], 1)
    return {f.name: f.error(p, targets.values[f.name]).mean() for f, p in zip(space, parts, strict=True)}
