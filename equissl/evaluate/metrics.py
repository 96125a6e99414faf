"""How well numbers and classes were read, in float64 over the whole set."""

from __future__ import annotations

import torch
from torch import Tensor


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
