"""Ridge regression on a few columns, cross-fitted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equissl.evaluate.probes.fold_fit import FoldFit

SPARSE_SIZES = (1, 4, 16, 64)  # columns of the sparse probe
_SPARSE_PENALTY = 1e-3  # per image, on standardised columns


class SparseProbe:
    """Ridge regression on the columns that correlate most with the target among the images it is fitted on.

    Args:
        x: (N, D) standardised features.
        y: (N, c) centred targets.
        rows: of each fold.
    """

    def __init__(self, x: Tensor, y: Tensor, rows: Sequence[Tensor]):
        self.x, self.y, self.rows = x, y, rows
        self.moments = [_moments(x[r].double(), y[r]) for r in rows]
        self.sizes = [s for s in SPARSE_SIZES if s <= x.shape[1]] or [x.shape[1]]

    def inner_errors(self, fold: int) -> Tensor:
        """Squared errors (S, N) for each of ``sizes``: of the other folds, each left out in turn as well."""
        errors = torch.zeros(len(self.sizes), len(self.y), dtype=torch.float64)
        for k, rows in enumerate(self.rows):
            if k != fold:
                for j, predictions in enumerate(self._predict((fold, k), rows)):
                    errors[j, rows] = (self.y[rows] - predictions).square().sum(1)
        return errors

    def fit(self, fold: int, size: int) -> FoldFit:
        """The fit without a fold on the ``size`` best columns."""
        fit = torch.cat([r for k, r in enumerate(self.rows) if k != fold])
        columns = self._ranked((fold,))[:size]
        z, held = _with_constant(self.x[fit][:, columns]), _with_constant(self.x[self.rows[fold]][:, columns])
        solved = _ridge_solve(z, z.T)
        smoother = held @ solved
        residuals = self.y[fit] - z @ (solved @ self.y[fit])
        leverage = (z * solved.T).sum(1)
        predictions = smoother @ self.y[fit]
        return FoldFit(
            self.rows[fold], fit, predictions, smoother, residuals, leverage, "sparse", float(size)
        )

    def _predict(self, without: tuple[int, ...], rows: Tensor) -> list[Tensor]:
        fit = torch.cat([r for k, r in enumerate(self.rows) if k not in without])
        ranked = self._ranked(without)[: max(self.sizes)]
        z, held = self.x[fit][:, ranked], self.x[rows][:, ranked]
        return [
            _with_constant(held[:, :size]) @ _ridge_solve(a := _with_constant(z[:, :size]), a.T @ self.y[fit])
            for size in self.sizes
        ]

    def _ranked(self, without: tuple[int, ...]) -> Tensor:
        """Columns by their correlation with the targets, in the folds that are left."""
        kept = [k for k in range(len(self.rows)) if k not in without]
        count = sum(len(self.rows[k]) for k in kept)
        x, y, xx, xy = (torch.stack([self.moments[k][j] for k in kept]).sum(0) / count for j in range(4))
        covariance = xy - x[:, None] * y
        return (covariance.square().sum(1) / (xx - x.square()).clamp(min=1e-12)).argsort(descending=True)


def _moments(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return x.sum(0), y.sum(0), x.square().sum(0), x.T @ y


def _with_constant(x: Tensor) -> Tensor:
    return torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64)], 1)


def _ridge_solve(z: Tensor, right: Tensor) -> Tensor:
    gram = z.T @ z
    gram.diagonal()[:-1] += _SPARSE_PENALTY * len(z)
    solved: Tensor = torch.linalg.solve(gram, right)
    return solved
