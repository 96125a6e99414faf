"""How a picture came to be: named factors, the arithmetic each obeys, and a batch of their values.

A ``Factor`` is a kind of quantity (a hue, a flip, a pose), a ``Space`` an ordered set of them, known before
any data exists so that every head can size itself, and ``Params`` one value per picture. Values are stored
in natural units (fractions of the picture, radians, turns) and encoded to numbers of order one for networks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.errors import nearest


@dataclass(frozen=True)
class Factor(ABC):
    """One thing that varies in a picture, and the arithmetic it obeys.

    Values are float tensors of shape (B, size). ``unit`` is for people: "fraction", "turns", "radians".
    """

    name: str
    unit: str = field(default="", kw_only=True)
    size: ClassVar[int] = 1
    discrete: ClassVar[bool] = False  # a class to recognise rather than a number to regress

    @property
    @abstractmethod
    def encoded_size(self) -> int:
        """Numbers a network reads or predicts for this factor."""

    @abstractmethod
    def neutral(self, n: int) -> Tensor:
        """The value meaning "nothing was done": (n, size)."""

    @abstractmethod
    def between(self, source: Tensor, target: Tensor) -> Tensor:
        """What takes ``source`` to ``target``: (B, size), (B, size) -> (B, size)."""

    @abstractmethod
    def encode(self, value: Tensor) -> Tensor:
        """(B, size) -> (B, encoded_size), numbers of order one."""

    @abstractmethod
    def decode(self, encoded: Tensor) -> Tensor:
        """The value nearest to an encoding: (B, encoded_size) -> (B, size)."""

    @abstractmethod
    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        """How wrong a prediction is: (B, encoded_size), (B, size) -> (B,), at least 0."""

    def relative(self) -> Factor:
        """The factor that ``between`` yields values of."""
        return self

    def pooled(self, other: Factor) -> Factor:
        """The factor that describes values of both, when two views draw from different ranges."""
        if self != other:
            raise ValueError(f"two different factors share the name {self.name!r}: {self}, {other}")
        return self

    def alias(self, value: Tensor) -> Tensor:
        """Other numbers that mean the same value: (B, size) -> (B, size)."""
        return value

    def interpolate(self, start: Tensor, end: Tensor, fraction: float) -> Tensor:
        """The value a ``fraction`` of the way along: (B, size), (B, size) -> (B, size).

        Raises:
            TypeError: the factor has no values in between (a flip, an order).
        """
        raise TypeError(f"{self.name} has no values in between")


@dataclass(frozen=True)
class Real(Factor):
    """A number on a line; ``scale`` is its root-mean-square distance from ``rest``."""

    rest: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale of {self.name!r} must be above 0, got {self.scale}")

    @property
    def encoded_size(self) -> int:
        return 1

    def neutral(self, n: int) -> Tensor:
        return torch.full((n, 1), self.rest)

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        return target - source

    def encode(self, value: Tensor) -> Tensor:
        return (value - self.rest) / self.scale

    def decode(self, encoded: Tensor) -> Tensor:
        return encoded * self.scale + self.rest

    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        return (predicted - self.encode(value)).square().mean(1)

    def relative(self) -> Real:
        return replace(self, rest=0.0)

    def pooled(self, other: Factor) -> Real:
        if not isinstance(other, Real) or (other.name, other.rest) != (self.name, self.rest):
            raise ValueError(f"two different factors share the name {self.name!r}: {self}, {other}")
        if other.scale == self.scale:
            return self
        return replace(self, scale=math.sqrt((self.scale**2 + other.scale**2) / 2))

    def interpolate(self, start: Tensor, end: Tensor, fraction: float) -> Tensor:
        return start.lerp(end, fraction)


@dataclass(frozen=True)
class Circular(Factor):
    """An angle or a hue: values that differ by ``period`` are the same."""

    period: float = 2 * math.pi

    @property
    def encoded_size(self) -> int:
        return 2

    def neutral(self, n: int) -> Tensor:
        return torch.zeros(n, 1)

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        half = self.period / 2
        return (target - source + half).remainder(self.period) - half

    def encode(self, value: Tensor) -> Tensor:
        angle = value * (2 * math.pi / self.period)
        return torch.cat([angle.cos(), angle.sin()], 1)

    def decode(self, encoded: Tensor) -> Tensor:
        angle = torch.atan2(encoded[:, 1:], encoded[:, :1])
        return angle * (self.period / (2 * math.pi))

    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        return (predicted - self.encode(value)).square().mean(1)

    def alias(self, value: Tensor) -> Tensor:
        return value + self.period

    def interpolate(self, start: Tensor, end: Tensor, fraction: float) -> Tensor:
        return start + fraction * self.between(start, end)


@dataclass(frozen=True)
class Binary(Factor):
    """Done or not done: 1 or 0. A network predicts its logit."""

    discrete: ClassVar[bool] = True

    @property
    def encoded_size(self) -> int:
        return 1

    def neutral(self, n: int) -> Tensor:
        return torch.zeros(n, 1)

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        return (target - source).abs()

    def encode(self, value: Tensor) -> Tensor:
        return 2 * value - 1

    def decode(self, encoded: Tensor) -> Tensor:
        return (encoded > 0).to(encoded.dtype)

    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(predicted, value, reduction="none").squeeze(1)


@dataclass(frozen=True)
class Cyclic(Factor):
    """An element of the cyclic group of ``order`` elements, such as quarter turns."""

    order: int = 4
    discrete: ClassVar[bool] = True

    @property
    def encoded_size(self) -> int:
        return self.order

    def neutral(self, n: int) -> Tensor:
        return torch.zeros(n, 1)

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        return (target - source).remainder(self.order)

    def encode(self, value: Tensor) -> Tensor:
        kind = value.squeeze(1).round().long().remainder(self.order)
        return F.one_hot(kind, self.order).to(value.dtype)

    def decode(self, encoded: Tensor) -> Tensor:
        return encoded.argmax(1, keepdim=True).to(encoded.dtype)

    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        return F.cross_entropy(predicted, self.encode(value), reduction="none")

    def alias(self, value: Tensor) -> Tensor:
        return value + self.order


@dataclass(frozen=True)
class Rotation(Factor):
    """A rotation of space as a unit quaternion (w, x, y, z); q and -q are the same rotation.

    ``between(p, q)`` is conj(p) q, the rotation in the frame of the source object.
    """

    size: ClassVar[int] = 4

    @property
    def encoded_size(self) -> int:
        return 4

    def neutral(self, n: int) -> Tensor:
        return torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1)

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        return quaternion_product(source * source.new_tensor([1, -1, -1, -1]), target)

    def encode(self, value: Tensor) -> Tensor:
        # The sign of the first component that is not zero decides, so half turns have one encoding too.
        first = value.abs().gt(1e-9).to(torch.uint8).argmax(1, keepdim=True)
        return torch.where(value.gather(1, first) < 0, -value, value)

    def decode(self, encoded: Tensor) -> Tensor:
        return F.normalize(encoded, dim=1)

    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        return 1 - F.cosine_similarity(predicted, value, dim=1).square()

    def alias(self, value: Tensor) -> Tensor:
        return -value

    def interpolate(self, start: Tensor, end: Tensor, fraction: float) -> Tensor:
        cosine = (start * end).sum(1, keepdim=True)
        end = torch.where(cosine < 0, -end, end)
        angle = cosine.abs().clamp(max=1 - 1e-6).acos()
        mixed = ((1 - fraction) * angle).sin() * start + (fraction * angle).sin() * end
        return F.normalize(mixed, dim=1)


@dataclass(frozen=True)
class Permutation(Factor):
    """An order of ``length`` things: entry k is which of them comes k-th. Encoded as a matrix."""

    length: ClassVar[int] = 4
    size: ClassVar[int] = 4

    @property
    def encoded_size(self) -> int:
        return self.length**2

    def neutral(self, n: int) -> Tensor:
        return torch.arange(self.length, dtype=torch.float32).repeat(n, 1)

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        position = source.argsort(1)
        return target.gather(1, position)

    def encode(self, value: Tensor) -> Tensor:
        return F.one_hot(value.round().long(), self.length).to(value.dtype).flatten(1)

    def decode(self, encoded: Tensor) -> Tensor:
        scores = encoded.reshape(-1, self.length, self.length)
        chosen = []
        for k in range(self.length):  # greedy: each place takes the best thing that is left
            best = scores[:, k].argmax(1, keepdim=True)
            chosen.append(best)
            scores = scores.scatter(2, best[:, None].expand(-1, self.length, 1), -torch.inf)
        return torch.cat(chosen, 1).to(encoded.dtype)

    def error(self, predicted: Tensor, value: Tensor) -> Tensor:
        logits = predicted.reshape(-1, self.length, self.length).transpose(1, 2)
        return F.cross_entropy(logits, value.round().long(), reduction="none").mean(1)


def quaternion_product(p: Tensor, q: Tensor) -> Tensor:
    """Hamilton product of quaternions (w, x, y, z): (B, 4), (B, 4) -> (B, 4)."""
    pw, px, py, pz = p.unbind(1)
    qw, qx, qy, qz = q.unbind(1)
    product = [
        pw * qw - px * qx - py * qy - pz * qz,
        pw * qx + px * qw + py * qz - pz * qy,
        pw * qy - px * qz + py * qw + pz * qx,
        pw * qz + px * qy - py * qx + pz * qw,
    ]
    return torch.stack(product, 1)


@dataclass(frozen=True)
class Space:
    """The named factors a set of pictures varies in, in a fixed order."""

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
        """Nothing was done to any of ``n`` pictures."""
        off = torch.zeros(n, dtype=torch.bool)
        values = {f.name: f.neutral(n) for f in self}
        return Params(self, values, {f.name: off for f in self}, n)


@dataclass(frozen=True)
class Params:
    """One value per picture for every factor of a space, and whether each was applied.

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
            masked[f.name] = torch.where(applied[:, None], value, f.neutral(n).to(value))
        return Params(space, masked, {f.name: applied for f in space}, n)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: Tensor) -> Params:
        """The pictures ``rows``, integer or bool (n,)."""
        values = {k: v[rows] for k, v in self.values.items()}
        flags = {k: v[rows] for k, v in self.applied.items()}
        n = int(rows.sum()) if rows.dtype == torch.bool else len(rows)
        return Params(self.space, values, flags, n)

    def __or__(self, other: Params) -> Params:
        """Factors of both, side by side; a name in both is an error."""
        return Params(
            self.space + other.space,
            {**self.values, **other.values},
            {**self.applied, **other.applied},
            self.count,
        )

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

    def filled(self, space: Space) -> Params:
        """The values of ``space``'s factors; one that is not mentioned here is neutral."""
        device = next((v.device for v in self.values.values()), None)
        rest = Space(tuple(f for f in space if f.name not in self.values)).neutral(self.count)
        known = {**rest.values, **self.values}
        flags = {**rest.applied, **self.applied}
        values = {n: known[n].to(device) for n in space.names}
        return Params(space, values, {n: flags[n].to(device) for n in space.names}, self.count)


def concatenate(parts: Sequence[Params]) -> Params:
    """Batches of one space, one after the other."""
    first = parts[0]
    values = {n: torch.cat([p.values[n] for p in parts]) for n in first.space.names}
    flags = {n: torch.cat([p.applied[n] for p in parts]) for n in first.space.names}
    return Params(first.space, values, flags, sum(p.count for p in parts))


def between(source: Params, target: Params, space: Space) -> Params:
    """What takes one picture to another, for the factors of ``space``.

    A factor that a picture does not mention is neutral, so "plain picture -> augmented view" and
    "render 1 -> render 2" are the same call. Returns values of ``space.relative()``.
    """
    a, b = source.filled(space), target.filled(space)
    values, flags = {}, {}
    for f in space:
        start, end = a.values[f.name], b.values[f.name]
        values[f.name] = f.between(start.to(end.device), end)
        flags[f.name] = a.applied[f.name].to(end.device) | b.applied[f.name]
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
