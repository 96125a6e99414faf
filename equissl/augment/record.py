"""Augmentations without any training: views of images, a table of what was done, and both again later.

Training draws through ``recompute`` too, so that views made here are those of a run with the same seed,
epoch, image and view.
"""

from __future__ import annotations

import csv
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.engine import Engine, render
from equissl.params import Factor, Params
from equissl.random import Stream

Cell = float | int | bool | str | tuple[float, ...] | None


@dataclass(frozen=True)
class Table:
    """Parameters by name, one row per view of an image.

    Args:
        columns: "image", "view", then one column per factor; a yes-or-no factor holds bools, a discrete one
            whole numbers, one of several numbers (an order of color operations) tuples. A factor that a
            view does not have is ``None``, one that was not applied has its neutral value.
        units: factor name -> unit, "" for none.
    """

    columns: Mapping[str, Sequence[Cell]]
    units: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.columns["image"])

    @property
    def headings(self) -> tuple[str, ...]:
        """Names with units: "hue [turns]"."""
        return tuple(f"{n} [{self.units[n]}]" if self.units.get(n) else n for n in self.columns)

    def csv(self, path: Path | str) -> None:
        """Write as CSV; numbers in the fewest digits that give the same float32 again."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(self.headings)
            writer.writerows([_exact(cell) for cell in row] for row in self._rows())

    def __str__(self) -> str:
        """Aligned columns, numbers to four digits."""
        rows = [self.headings, *(tuple(_short(cell) for cell in row) for row in self._rows())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(c.rjust(w) for c, w in zip(r, widths, strict=True)) for r in rows)

    def _rows(self) -> list[tuple[Cell, ...]]:
        return list(zip(*self.columns.values(), strict=True))


@dataclass(frozen=True)
class Record:
    """How views came to be.

    Args:
        policies: view name -> what it was drawn from.
        params: view name -> what was drawn, one row per image.
        index: (B,) int64, the images' numbers.
        engine: what carries the record out; engines differ by rounding.
    """

    policies: Mapping[str, Augmentation]
    params: Mapping[str, Params]
    index: Tensor
    engine: Engine = "torch"

    def table(self) -> Table:
        """Every parameter by name, all views of the first image, then all of the second, ..."""
        factors: dict[str, Factor] = {}
        for params in self.params.values():
            for factor in params.space:
                factors.setdefault(factor.name, factor)
        rows = [(k, view) for k in range(len(self.index)) for view in self.params]
        columns: dict[str, list[Cell]] = {
            "image": [int(self.index[k]) for k, _ in rows],
            "view": [view for _, view in rows],
        }
        for name, factor in factors.items():
            known = {v: cells(factor, p.values[name]) for v, p in self.params.items() if name in p.values}
            columns[name] = [known[view][k] if view in known else None for k, view in rows]
        return Table(columns, {n: f.unit for n, f in factors.items()})

    def replay(self, images: Tensor) -> tuple[Tensor, ...]:
        """The views of ``images`` (B, C, H, W) again, from the recorded values alone and bit for bit."""
        made = []
        for view, params in self.params.items():
            again = Params.of(params.space, params.values, count=len(images))
            made.append(render(self.policies[view], images, again, self.engine))
        return tuple(made)


def views(
    images: Tensor,
    policy: Augmentation | Mapping[str, Augmentation],
    count: int = 2,
    *,
    seed: int = 0,
    epoch: int = 0,
    index: Tensor | Sequence[int] | None = None,
    engine: Engine = "torch",
) -> tuple[tuple[Tensor, ...], Record]:
    """Views of images and how they came to be.

    Args:
        images: (B, C, H, W), uint8 or float in [0, 1], on any device.
        policy: of every view, or view name -> its own (then ``count`` is not read).
        count: how many views; they are called "a", "b", ... as in the recipes.
        seed, epoch: of the random streams.
        index: (B,) numbers of the images; 0, 1, ... if absent. A draw belongs to its number.
        engine: see ``equissl.augment.engine``.

    Returns:
        One (B, C, h, w) float tensor per view, and their record.

    Raises:
        ValueError: ``images``, ``policy``, ``count`` or ``index`` is not of that kind.
    """
    if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        shape, kind = tuple(images.shape), images.dtype
        raise ValueError(f"images must be (B, C, H, W), uint8 or float in [0, 1], got {shape} {kind}")
    policies = _named(policy, count)
    numbers = torch.arange(len(images)) if index is None else torch.as_tensor(index)
    if numbers.shape != (len(images),):
        raise ValueError(f"index must hold one number per image, {len(images)}, got {tuple(numbers.shape)}")
    size = (images.shape[2], images.shape[3])
    where = numbers.to(images.device)
    params = {name: recompute(p, seed, epoch, where, name, size) for name, p in policies.items()}
    made = tuple(render(policies[name], images, drawn, engine) for name, drawn in params.items())
    return made, Record(policies, params, numbers.cpu(), engine)


def recompute(
    policy: Augmentation,
    seed: int,
    epoch: int,
    index: Tensor | Sequence[int],
    view: str,
    size: tuple[int, int],
) -> Params:
    """What a view was, or will be, drawn as: a function of these arguments alone.

    Args:
        index: (B,) numbers of the images in their dataset.
        view: the view's name.
        size: (H, W) of the source in pixels.
    """
    return policy.sample(Stream.of(torch.as_tensor(index), seed, epoch, view), size)


def cells(factor: Factor, values: Tensor) -> list[Cell]:
    """Values (B, size) of a factor as people read them."""
    if factor.discrete and factor.encoded_size == 1:
        return [bool(v) for v in values[:, 0].tolist()]
    rows = values.double().tolist()
    if all(v == round(v) for row in rows for v in row) and (factor.discrete or factor.size > 1):
        rows = [[int(v) for v in row] for row in rows]
    return [row[0] if factor.size == 1 else tuple(row) for row in rows]


def _named(policy: Augmentation | Mapping[str, Augmentation], count: int) -> Mapping[str, Augmentation]:
    if isinstance(policy, Augmentation):
        if not 1 <= count <= len(string.ascii_lowercase):
            raise ValueError(f"count must be from 1 to {len(string.ascii_lowercase)}, got {count}")
        return dict.fromkeys(string.ascii_lowercase[:count], policy)
    if not isinstance(policy, Mapping) or not all(isinstance(p, Augmentation) for p in policy.values()):
        raise ValueError(f"policy must be an Augmentation, or view name -> Augmentation, got {policy!r}")
    if not policy:
        raise ValueError("policy names no view")
    return dict(policy)


def _exact(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case tuple():
            return " ".join(map(_exact, cell))
        case float():
            return str(np.float32(cell))
    return str(cell)


def _short(cell: Cell) -> str:
    match cell:
        case None:
            return "-"
        case bool():
            return "yes" if cell else "no"
        case tuple():
            return " ".join(map(_short, cell))
        case float():
            return f"{cell:.4g}"
    return str(cell)
