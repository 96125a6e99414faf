"""Ridge regression on standardised features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.evaluate.metrics import r2
from equissl.evaluate.probes.base import ProbeResult, argbest, validation_split
from equissl.evaluate.probes.scaler import StandardScaler

# Per image, on standardised features; strong to weak, so that the stronger of two equals is chosen.
RIDGE_PENALTIES = tuple(10.0**k for k in range(2, -6, -1))


def ridge(x: Tensor, y: Tensor, groups: Tensor, x_test: Tensor, seed: int = 0) -> ProbeResult:
    """Ridge regression, penalty chosen by R2 on held-out groups and then refitted on all.

    Args:
        x: (N, D) training features.
        y: (N, c) training targets.
        groups: (N,) of the training images.
        x_test: (M, D) test features; predictions are (M, c).
        seed: of the split that chooses the penalty.

    >>> x = torch.linspace(-1, 1, 50)[:, None]
    >>> result = ridge(x, 3 * x, torch.arange(50), torch.tensor([[0.5]]))
    >>> round(float(result.predictions), 2)
    1.5
    """
    fit, held_out = validation_split(groups, seed)
    candidates = [m.predict(x[held_out]) for m in _fit(x[fit], y[fit], RIDGE_PENALTIES)]
    penalty = RIDGE_PENALTIES[argbest([r2(predictions, y[held_out]) for predictions in candidates])]
    return ProbeResult(_fit(x, y, (penalty,))[0].predict(x_test), penalty)


@dataclass(frozen=True)
class _Ridge:
    scaler: StandardScaler
    coefficients: Tensor
    intercept: Tensor

    def predict(self, x: Tensor) -> Tensor:
        return (self.scaler.transform(x).double() @ self.coefficients + self.intercept).float()


def _fit(x: Tensor, y: Tensor, penalties: Sequence[float]) -> list[_Ridge]:
    scaler, mean = StandardScaler.fit(x), y.double().mean(0)
    weights = [p * len(x) for p in penalties]
    centred = y.double() - mean
    if len(x) >= x.shape[1]:
        gram = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
        right = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64)
        # In chunks, so that only a few rows at a time are in float64.
        for rows, targets in zip(torch.split(x, 8192), torch.split(centred, 8192), strict=True):
            z = scaler.transform(rows).double()
            gram.addmm_(z.T, z)
            right.addmm_(z.T, targets)
        coefficients = ridge_path(gram, right, weights)
    else:
        z = scaler.transform(x).double()
        coefficients = [z.T @ dual for dual in ridge_path(z @ z.T, centred, weights)]
    return [_Ridge(scaler, c, mean) for c in coefficients]


def ridge_path(matrix: Tensor, right: Tensor, weights: Sequence[float]) -> list[Tensor]:
    """(matrix + weight * identity)^-1 right for every weight, by one eigendecomposition of (n, n)."""
    values, vectors = torch.linalg.eigh(matrix)
    rotated = vectors.T @ right
    values = values.clamp(min=0)[:, None]
    return [vectors @ (rotated / (values + w)) for w in weights]
