"""Kernel ridge regression without some images, in closed form from the inverse for all of them.

With M = (K + penalty)^-1 and a = M y, leaving out the images F gives the predictions y_F - (M_FF)^-1 a_F.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equissl.evaluate.probes.fold_fit import FoldFit

PENALTIES = tuple(10.0**k for k in range(3, -6, -1))  # strong to weak, of kernels with a diagonal about 1
INTERCEPT = 1e3  # variance of the constant in each kernel, which the penalty hardly touches


def spectrum(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of a kernel (N, N) with a constant."""
    values, vectors = torch.linalg.eigh(kernel + INTERCEPT)
    return values, vectors


def inverse_of(of: tuple[Tensor, Tensor], penalty: float) -> Tensor:
    """The inverse of a kernel with a constant plus ``penalty`` on its diagonal, from its ``spectrum``."""
    values, vectors = of
    return (vectors / (values.clamp(min=0) + penalty)) @ vectors.T


def inner_errors(
    inverse: Tensor, y: Tensor, rows: Sequence[Tensor], others: Sequence[Tensor], blocks: GroupBlocks
) -> Tensor:
    """For each fold that is left out, squared errors of leave-one-group-out within the others: (K, c)."""
    dual = inverse @ y
    result = []
    for held, fit in zip(rows, others, strict=True):
        across = inverse[fit][:, held]
        solved = torch.linalg.solve(inverse[held][:, held], torch.cat([across.T, dual[held]], 1))
        without = dual[fit] - across @ solved[:, len(fit) :]
        if blocks.single:
            diagonal = inverse.diagonal()[fit] - (across * solved[:, : len(fit)].T).sum(1)
            errors = without / diagonal[:, None]
        else:
            errors = blocks.errors(inverse[fit][:, fit] - across @ solved[:, : len(fit)], without, fit)
        result.append(errors.square().sum(0))
    return torch.stack(result)


def fold_fit(inverse: Tensor, y: Tensor, held: Tensor, fit: Tensor, probe: str, penalty: float) -> FoldFit:
    """The fit on ``fit`` with its predictions for ``held``, from the inverse for both together."""
    across = inverse[fit][:, held]
    smoother = -torch.linalg.solve(inverse[held][:, held], across.T)
    dual = (inverse[fit] @ y) + smoother.T @ (inverse[held] @ y)
    diagonal = inverse.diagonal()[fit] + (across * smoother.T).sum(1)
    return FoldFit(
        held, fit, smoother @ y[fit], smoother, penalty * dual, 1 - penalty * diagonal, probe, penalty
    )


class GroupBlocks:
    """Leave-one-group-out errors from the inverse of a kernel matrix.

    Args:
        groups: (N,) int64.
    """

    def __init__(self, groups: Tensor):
        self.groups = groups
        self.single = len(torch.unique(groups)) == len(groups)

    def errors(self, inverse: Tensor, dual: Tensor, rows: Tensor) -> Tensor:
        """Errors of predictions for the images ``rows`` that were made without their group: (t, c)."""
        if self.single:
            return dual / inverse.diagonal()[:, None]
        result = torch.empty_like(dual)
        groups = self.groups[rows]
        order = groups.argsort(stable=True)
        counts = torch.unique_consecutive(groups[order], return_counts=True)[1]
        starts = counts.cumsum(0) - counts
        for size in torch.unique(counts).tolist():  # groups of one size are solved together
            members = order[starts[counts == size][:, None] + torch.arange(size)]
            blocks = inverse[members[:, :, None], members[:, None, :]]
            result[members] = torch.linalg.solve(blocks, dual[members])
        return result
