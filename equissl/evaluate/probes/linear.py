"""What is fitted on frozen features: ridge regression and logistic regression.

Both standardise their features, choose their only setting on groups of training images that they were
not fitted on, and are then refitted on all of them. Nothing here ever sees a test target.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from equissl.evaluate.metrics import balanced_accuracy, r2
from equissl.random import shuffled

# Per image, on standardised features; strong to weak, so that the stronger of two equals is chosen.
RIDGE_WEIGHTS = tuple(10.0**k for k in range(2, -6, -1))
LOGISTIC_WEIGHTS = tuple(10.0**k for k in range(0, -5, -1))

Reader = Callable[[Tensor], Tensor]  # features (M, D) -> numbers (M, c) or classes (M,)


@dataclass(frozen=True)
class ProbeResult:
    """What a probe says about the test images.

    Args:
        predicted: (N, c) numbers, or (N,) int64 classes.
        weight: the regularisation chosen, 0 where there is none.
        converged: False if the last fit ran out of iterations.
    """

    predicted: Tensor
    weight: float = 0.0
    converged: bool = True


@dataclass(frozen=True)
class Scaler:
    """Columns of mean 0 and standard deviation 1; a constant column becomes 0."""

    mean: Tensor
    deviation: Tensor

    @staticmethod
    def of(x: Tensor) -> Scaler:
        mean, deviation = x.mean(0), x.std(0, correction=0)
        # A dead column holds rounding noise, which must not be blown up to order one.
        dead = deviation <= 1e-6 * deviation.max()
        return Scaler(mean, torch.where(dead, torch.inf, deviation))

    def __call__(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation

    def undo(self, z: Tensor) -> Tensor:
        return z * self.deviation.nan_to_num(posinf=0.0) + self.mean


def split(groups: Tensor, share: float = 0.2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows to fit on and rows to hold out, int64 (n,) each; a group is never on both sides.

    Args:
        share: of the groups to hold out, in (0, 1); at least one is, unless there is only one in all.
    """
    names, which = torch.unique(groups, return_inverse=True)
    count = min(max(1, round(share * len(names))), len(names) - 1)
    held = torch.zeros(len(names), dtype=torch.bool)
    held[shuffled(len(names), seed, "split")[:count]] = True
    return (~held[which]).nonzero()[:, 0], held[which].nonzero()[:, 0]


def choosing(groups: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Rows to fit candidates on and rows to choose by: the same ones if there is a single group."""
    fit, held = split(groups, seed=seed)
    return fit, held if len(held) else fit


def ridge_path(matrix: Tensor, right: Tensor, weights: Sequence[float]) -> list[Tensor]:
    """(matrix + weight)^-1 right for every weight, from one decomposition of a symmetric (n, n)."""
    values, vectors = torch.linalg.eigh(matrix)
    rotated = vectors.T @ right
    values = values.clamp(min=0)[:, None]
    return [vectors @ (rotated / (values + w)) for w in weights]


def ridge(x: Tensor, y: Tensor, groups: Tensor, test: Tensor, seed: int = 0) -> ProbeResult:
    """Ridge regression: features (N, D), targets (N, c), test features (M, D) -> numbers (M, c)."""
    fit, held = choosing(groups, seed)
    tried = _ridge_fit(x[fit], y[fit], RIDGE_WEIGHTS)
    quality = [r2(predict(x[held]), y[held]) for predict in tried]
    weight = RIDGE_WEIGHTS[best(quality)]
    return ProbeResult(_ridge_fit(x, y, (weight,))[0](test), weight)


def _ridge_fit(x: Tensor, y: Tensor, weights: Sequence[float]) -> list[Reader]:
    scaler, mean = Scaler.of(x), y.double().mean(0)
    penalties = [w * len(x) for w in weights]
    centred = y.double() - mean
    if len(x) >= x.shape[1]:
        matrix = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
        right = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64)
        # In chunks, so that only a few rows at a time are in float64.
        for rows, targets in zip(torch.split(x, 8192), torch.split(centred, 8192), strict=True):
            z = scaler(rows).double()
            matrix.addmm_(z.T, z)
            right.addmm_(z.T, targets)
        slopes = ridge_path(matrix, right, penalties)
    else:
        z = scaler(x).double()
        slopes = [z.T @ dual for dual in ridge_path(z @ z.T, centred, penalties)]

    def reader(slope: Tensor) -> Reader:
        return lambda test: (scaler(test).double() @ slope + mean).float()

    return [reader(slope) for slope in slopes]


def logistic(
    x: Tensor, y: Tensor, groups: Tensor, test: Tensor, seed: int = 0, balanced: bool = False
) -> ProbeResult:
    """Multinomial logistic regression: features (N, D), classes (N,), test (M, D) -> classes (M,).

    Args:
        balanced: every class counts the same, and the weight is chosen by balanced accuracy.
    """
    fit, held = choosing(groups, seed)
    if len(torch.unique(y[fit])) < 2:  # one class in what can be fitted: nothing to choose by
        weight = LOGISTIC_WEIGHTS[len(LOGISTIC_WEIGHTS) // 2]
    else:
        quality = []
        for predict, _ in _logistic_fits(x[fit], y[fit], LOGISTIC_WEIGHTS, balanced):
            said = predict(x[held])
            plain = float((said == y[held]).double().mean())
            quality.append(balanced_accuracy(said, y[held]) if balanced else plain)
        weight = LOGISTIC_WEIGHTS[best(quality)]
    predict, converged = _logistic_fits(x, y, (weight,), balanced)[0]
    return ProbeResult(predict(test), weight, converged)


def _logistic_fits(
    x: Tensor, y: Tensor, weights: Sequence[float], balanced: bool
) -> list[tuple[Reader, bool]]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scaler = Scaler.of(x)
    z, classes = scaler(x).numpy(), y.numpy()
    model: Any = LogisticRegression(
        max_iter=500, class_weight="balanced" if balanced else None, warm_start=True
    )

    def reader(fitted: Any) -> Reader:
        return lambda test: torch.from_numpy(fitted.predict(scaler(test).numpy()))

    fits = []
    for weight in weights:
        # scikit-learn sums over images; ours is a weight per image, as in ridge regression.
        model.set_params(C=1 / (weight * len(x)))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(z, classes)
        done = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
        fits.append((reader(copy.deepcopy(model)), done))
    return fits


def best(quality: Sequence[float]) -> int:
    """Which is best, the first of equals."""
    return int(torch.tensor(quality, dtype=torch.float64).nan_to_num(nan=-torch.inf).argmax())
