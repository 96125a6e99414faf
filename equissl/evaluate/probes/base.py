"""What every probe shares: its result, and the split of training groups that chooses its setting.

Probes standardise or whiten their features, choose their setting on groups of training images that they were
not fitted on, and never see a test target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.random import shuffled


@dataclass(frozen=True)
class ProbeResult:
    """Predictions of a probe for the test images.

    Args:
        predictions: (N, c) numbers, or (N,) int64 classes.
        penalty: the regularisation weight that was chosen, 0 where there is none.
        converged: False if the last fit ran out of iterations.
    """

    predictions: Tensor
    penalty: float = 0.0
    converged: bool = True


def group_split(groups: Tensor, fraction: float = 0.2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows to fit on and rows to hold out, int64 (n,) each; a group is never on both sides.

    Args:
        fraction: of the groups to hold out, in (0, 1); at least one is, unless there is only one in all.

    >>> fit, held_out = group_split(torch.tensor([7, 7, 8, 8, 9, 9]), fraction=0.3)
    >>> len(fit), len(held_out)
    (4, 2)
    """
    names, which = torch.unique(groups, return_inverse=True)
    count = min(max(1, round(fraction * len(names))), len(names) - 1)
    held_out = torch.zeros(len(names), dtype=torch.bool)
    held_out[shuffled(len(names), seed, "split")[:count]] = True
    return (~held_out[which]).nonzero()[:, 0], held_out[which].nonzero()[:, 0]


def validation_split(groups: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Rows to fit candidates on and rows to choose by: the same ones if there is a single group."""
    fit, held_out = group_split(groups, seed=seed)
    return fit, held_out if len(held_out) else fit


def argbest(scores: Sequence[float]) -> int:
    """The position of the greatest score, the first of equals; NaN counts as the least."""
    return int(torch.tensor(scores, dtype=torch.float64).nan_to_num(nan=-torch.inf).argmax())
