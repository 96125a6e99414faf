"""How well numbers and classes were read, in float64 over the whole set."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equissl.params import Circular, Factor, Rotation


def r2(predicted: Tensor, truth: Tensor) -> float:
    """Share of the variance that is predicted, pooled over columns: (N, c), (N, c) -> at most 1.

    1 - (sum of squared errors) / (sum of squared distances to the mean of each column), which is
    scikit-learn's ``r2_score(multioutput="variance_weighted")``. The mean of each column scores 0.
    """
    truth, predicted = truth.double(), predicted.double()
    return _explained(predicted, truth, truth.mean(0))


def flat_r2(predicted: Tensor, truth: Tensor) -> float:
    """As ``r2``, but with one mean over all columns, as the SIE benchmark computes it.

    Columns of different means inflate it: for quaternions a constant scores about 0.2 instead of 0.
    """
    truth, predicted = truth.double(), predicted.double()
    return _explained(predicted, truth, truth.mean())


def component_r2(predicted: Tensor, truth: Tensor) -> list[float | None]:
    """R2 of each column; None for a column that does not vary. Their mean is scikit-learn's default."""
    columns = zip(torch.split(predicted, 1, 1), torch.split(truth, 1, 1), strict=True)
    found = [r2(p, t) for p, t in columns]
    return [value if math.isfinite(value) else None for value in found]


def mean_r2(predicted: Tensor, truth: Tensor) -> float:
    """R2 averaged over the columns that vary: (N, c), (N, c) -> at most 1; NaN if none does."""
    truth, predicted = truth.double(), predicted.double()
    total = (truth - truth.mean(0)).square().sum(0)
    share = 1 - (predicted - truth).square().sum(0) / total
    return float(share[total > 0].mean())


def degrees(factor: Factor, predicted: Tensor, truth: Tensor) -> Tensor:
    """How far off encoded angles or rotations are: (N, c), (N, c) -> (N,) in [0, 180], float64.

    Raises:
        ValueError: the factor is neither an angle nor a rotation.
    """
    said, wanted = factor.decode(predicted.double()), factor.decode(truth.double())
    if isinstance(factor, Circular):
        return factor.between(wanted, said)[:, 0].abs() * (360 / factor.period)
    if isinstance(factor, Rotation):
        # By the chord, which is exact for small angles where the arc cosine is not.
        chord = torch.minimum((said - wanted).norm(dim=1), (said + wanted).norm(dim=1))
        return torch.rad2deg(4 * (chord / 2).clamp(max=1).asin())
    raise ValueError(f"{factor.name!r} is {type(factor).__name__}, which has no angle")


def _explained(predicted: Tensor, truth: Tensor, centre: Tensor) -> float:
    total = (truth - centre).square().sum()
    return float(1 - (predicted - truth).square().sum() / total) if total > 0 else float("nan")


def balanced_accuracy(predicted: Tensor, truth: Tensor) -> float:
    """Mean over the classes that occur of the share recognised: (N,), (N,) int64 -> [0, 1]."""
    classes = int(torch.maximum(predicted.max(), truth.max())) + 1
    counts = torch.bincount(truth, minlength=classes).double()
    hits = torch.bincount(truth[predicted == truth], minlength=classes).double()
    present = counts > 0
    return float((hits[present] / counts[present]).mean())
