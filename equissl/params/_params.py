"""Named factors in a fixed order, and one value per image for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.errors import nearest
from equissl.params._factor import Factor


@dataclass(frozen=True)
class Space:
    """The named factors a set of images varies in, in a fixed order."""

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
        """Nothing was done to any of ``n`` images."""
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
            rest = f.neutral(1).to(value, non_blocking=True)  # waiting for the device would stall each step
            masked[f.name] = torch.where(applied[:, None], value, rest)
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
        values = {k: v.to(device) for k, v in self.values.items()}
        flags = {k: v.to(device) for k, v in self.applied.items()}
        return Params(self.space, values, flags, self.count)

    @property
    def device(self) -> torch.device | None:
        """Where the values are; None if there are none."""
        return next((v.device for v in self.values.values()), None)

    def filled(self, space: Space, device: torch.device | None = None) -> Params:
        """The values of ``space``'s factors; one that is not mentioned here is neutral.

        Args:
            device: where the result is; with the values if absent.
        """
        device = device or self.device
        rest = Space(tuple(f for f in space if f.name not in self.values)).neutral(self.count)
        known = {**rest.values, **self.values}
        flags = {**rest.applied, **self.applied}
        values = {n: known[n].to(device, non_blocking=True) for n in space.names}
        applied = {n: flags[n].to(device, non_blocking=True) for n in space.names}
        return Params(space, values, applied, self.count)


def merge(parts: Sequence[Params], count: int) -> Params:
    """Several draws of the same ``count`` images side by side; a name in two of them is an error."""
    space = Space(tuple(f for part in parts for f in part.space))
    values = {name: value for part in parts for name, value in part.values.items()}
    flags = {name: flag for part in parts for name, flag in part.applied.items()}
    return Params(space, values, flags, count)


def concatenate(parts: Sequence[Params]) -> Params:
    """Batches of one space, one after the other."""
    first = parts[0]
    values = {n: torch.cat([p.values[n] for p in parts]) for n in first.space.names}
    flags = {n: torch.cat([p.applied[n] for p in parts]) for n in first.space.names}
    return Params(first.space, values, flags, sum(p.count for p in parts))


def between(source: Params, target: Params, space: Space) -> Params:
    """What takes one image to another, for the factors of ``space``.

    A factor that an image does not mention is neutral, so "plain image -> augmented view" and
    "render 1 -> render 2" are the same call. Returns values of ``space.relative()``.
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
    """The draw a ``fraction`` of the way from one to another.

    Raises:
        ValueError: the two do not share a space.
        TypeError: a factor has no values in between.
    """
    if start.space != end.space:
        raise ValueError(f"cannot go between {start.space.names} and {end.space.names}")
    values, flags = {}, {}
    for f in start.space:
        n = f.name
        same = torch.equal(start.values[n], end.values[n])
        a, b = start.values[n], end.values[n]
        values[n] = a if same else f.interpolate(a, b, fraction)
        flags[n] = start.applied[n] | end.applied[n]
    return Params(start.space, values, flags, start.count)


def union(spaces: Mapping[str, Space], views: Sequence[str]) -> Space:
    """All factors that any of the named views knows."""
    result = Space()
    for view in views:
        result = result | spaces[view]
    return result


def factor_errors(space: Space, guess: Tensor, truth: Params) -> dict[str, Tensor]:
    """One mean error per factor: (B, space.encoded_size) against the truth -> {factor name: ()}."""
    guesses = torch.split(guess, [f.encoded_size for f in space], 1)
    return {f.name: f.error(g, truth.values[f.name]).mean() for f, g in zip(space, guesses, strict=True)}
