"""Features of an image and of its transformed version, with the parameters of the transformation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.data.base import Split
from equissl.evaluate.base import FeatureTable
from equissl.evaluate.context import EvaluationContext


@dataclass(frozen=True)
class TransformedPairs:
    """Pairs of one split.

    Args:
        plain, changed: (N, D) tables of the same images.
        targets: (N, c) the parameters of the transformation that vary, as they were sampled.
    """

    plain: FeatureTable
    changed: FeatureTable
    targets: Tensor

    def by_part(self) -> dict[str, Tensor]:
        """Part name -> both images' columns of it side by side, (N, 2d)."""
        plain, changed = self.plain.by_part(), self.changed.by_part()
        return {name: torch.cat([x, changed[name]], 1) for name, x in plain.items()}


def transformed_pairs(
    context: EvaluationContext, augment: Augmentation, factors: tuple[str, ...], limit: int
) -> tuple[TransformedPairs, TransformedPairs]:
    """Training pairs, ``limit`` at most, and test pairs."""
    limited = replace(context, rows={**context.rows, "train": context.rows["train"][:limit]})
    return _pairs(limited, augment, factors, "train"), _pairs(limited, augment, factors, "test")


def _pairs(
    context: EvaluationContext, augment: Augmentation, factors: tuple[str, ...], split: Split
) -> TransformedPairs:
    plain, changed = context.features(split), context.features(split, augment)
    targets = torch.cat([changed.params.values[n] for n in factors], 1)
    return TransformedPairs(plain, changed, targets[:, targets.std(0) > 0])


def too_few_pairs_reason(context: EvaluationContext) -> str:
    """Why there are too few images to fit a network on pairs; "" if there are enough."""
    count = min(len(context.rows[s]) for s in ("train", "test"))
    return f"it needs 10 training and 10 test images or more, but there are {count}" if count < 10 else ""
