"""Regression and classification metrics, in float64.

They run in every resample of a bootstrap, on tensors, which is why scikit-learn's, equal up to rounding, are
used in their tests only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equissl.params import Circular, Factor, Rotation


def r2(predictions: Tensor, targets: Tensor) -> float:
    """Coefficient of determination, pooled over columns: (N, c), (N, c) -> at most 1.

    1 - (sum of squared errors) / (sum of squared distances to the mean of each column), which is
    scikit-learn's ``r2_score(multioutput="variance_weighted")``. The mean of each column scores 0.

    >>> targets = torch.tensor([[0.0], [1.0], [2.0]])
    >>> r2(targets, targets), r2(torch.ones(3, 1), targets)
    (1.0, 0.0)
    """
    predictions, targets = predictions.double(), targets.double()
    return _r2(predictions, targets, targets.mean(0))


def flat_r2(predictions: Tensor, targets: Tensor) -> float:
    """As ``r2``, but with one mean over all columns, as the SIE benchmark computes it.

    Columns of different means inflate it: for quaternions a constant scores about 0.2 instead of 0.
    """
    predictions, targets = predictions.double(), targets.double()
    return _r2(predictions, targets, targets.mean())


def component_r2(predictions: Tensor, targets: Tensor) -> list[float | None]:
    """R2 of each column; None for a column that does not vary. Their mean is scikit-learn's default."""
    columns = zip(torch.split(predictions, 1, 1), torch.split(targets, 1, 1), strict=True)
    values = [r2(p, t) for p, t in columns]
    return [value if math.isfinite(value) else None for value in values]


def mean_r2(predictions: Tensor, targets: Tensor) -> float:
    """R2 averaged over the columns that vary: (N, c), (N, c) -> at most 1; NaN if none does."""
    predictions, targets = predictions.double(), targets.double()
    total = (targets - targets.mean(0)).square().sum(0)
    explained = 1 - (predictions - targets).square().sum(0) / total
    return float(explained[total > 0].mean())


def angular_error(factor: Factor, predictions: Tensor, targets: Tensor) -> Tensor:
    """Error of encoded angles or rotations in degrees: (N, c), (N, c) -> (N,) in [0, 180], float64.

    Raises:
        ValueError: the factor is neither an angle nor a rotation.
    """
    predicted, target = factor.decode(predictions.double()), factor.decode(targets.double())
    if isinstance(factor, Circular):
        return factor.between(target, predicted)[:, 0].abs() * (360 / factor.period)
    if isinstance(factor, Rotation):
        # By the chord, which is exact for small angles where the arc cosine is not.
        chord = torch.minimum((predicted - target).norm(dim=1), (predicted + target).norm(dim=1))
        return torch.rad2deg(4 * (chord / 2).clamp(max=1).asin())
    raise ValueError(f"{factor.name!r} is {type(factor).__name__}, which has no angle")


def balanced_accuracy(predictions: Tensor, targets: Tensor) -> float:
    """Mean recall over the classes that occur in ``targets``: (N,), (N,) int64 -> [0, 1].

    >>> balanced_accuracy(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 1]))
    0.5
    """
    classes = int(torch.maximum(predictions.max(), targets.max())) + 1
    counts = torch.bincount(targets, minlength=classes).double()
    hits = torch.bincount(targets[predictions == targets], minlength=classes).double()
    present = counts > 0
    return float((hits[present] / counts[present]).mean())


def _r2(predictions: Tensor, targets: Tensor, mean: Tensor) -> float:
    total = (targets - mean).square().sum()
    return float(1 - (predictions - targets).square().sum() / total) if total > 0 else float("nan")
