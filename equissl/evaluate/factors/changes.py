"""Pairs of an image and its transformed self, and what their features say of the numbers in between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.evaluate.base import Table
from equissl.evaluate.context import EvaluationContext


@dataclass(frozen=True)
class Changes:
    """Pairs of one split.

    Args:
        plain, changed: (N, D) tables of the same images.
        truth: (N, c) numbers of the transformation, as they were drawn.
    """

    plain: Table
    changed: Table
    truth: Tensor

    def features(self) -> dict[str, Tensor]:
        """Part name -> both images' columns of it side by side, (N, 2d)."""
        one, two = self.plain.features(), self.changed.features()
        return {name: torch.cat([x, two[name]], 1) for name, x in one.items()}


def changes(
    subject: EvaluationContext, augment: Augmentation, factors: tuple[str, ...], limit: int
) -> tuple[Changes, Changes]:
    """Training pairs, ``limit`` at most, and test pairs."""
    few = replace(subject, rows={**subject.rows, "train": subject.rows["train"][:limit]})
    return tuple(_split(few, augment, factors))  # type: ignore[return-value]


def _split(subject: EvaluationContext, augment: Augmentation, factors: tuple[str, ...]) -> Iterator[Changes]:
    for split in ("train", "test"):
        plain, changed = subject.features(split), subject.features(split, augment)
        truth = torch.cat([changed.params.values[n] for n in factors], 1)
        yield Changes(plain, changed, truth[:, truth.std(0) > 0])
