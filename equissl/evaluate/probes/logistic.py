"""Multinomial logistic regression on standardised features."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from equissl.evaluate.metrics import balanced_accuracy
from equissl.evaluate.probes.base import ProbeResult, argbest, validation_split
from equissl.evaluate.probes.scaler import StandardScaler

# Per image, on standardised features; strong to weak, so that the stronger of two equals is chosen.
LOGISTIC_PENALTIES = tuple(10.0**k for k in range(0, -5, -1))


def logistic(
    x: Tensor, y: Tensor, groups: Tensor, x_test: Tensor, seed: int = 0, balanced: bool = False
) -> ProbeResult:
    """Logistic regression (L-BFGS), penalty chosen by accuracy on held-out groups and then refitted on all.

    Args:
        x: (N, D) training features.
        y: (N,) int64 training classes.
        groups: (N,) of the training images.
        x_test: (M, D) test features; predictions are classes (M,).
        seed: of the split that chooses the penalty.
        balanced: every class counts the same, and the penalty is chosen by balanced accuracy.

    >>> x = torch.linspace(-1, 1, 50)[:, None]
    >>> result = logistic(x, (x[:, 0] > 0).long(), torch.arange(50), torch.tensor([[-0.5], [0.5]]))
    >>> result.predictions.tolist()
    [0, 1]
    """
    fit, held_out = validation_split(groups, seed)
    if len(torch.unique(y[fit])) < 2:  # one class in what can be fitted: nothing to choose by
        penalty = LOGISTIC_PENALTIES[len(LOGISTIC_PENALTIES) // 2]
    else:
        candidates = [p(x[held_out]) for p, _ in _fit(x[fit], y[fit], LOGISTIC_PENALTIES, balanced)]
        measure = balanced_accuracy if balanced else _accuracy
        penalty = LOGISTIC_PENALTIES[argbest([measure(c, y[held_out]) for c in candidates])]
    predict, converged = _fit(x, y, (penalty,), balanced)[0]
    return ProbeResult(predict(x_test), penalty, converged)


def _accuracy(predictions: Tensor, targets: Tensor) -> float:
    return float((predictions == targets).double().mean())


def _fit(
    x: Tensor, y: Tensor, penalties: Sequence[float], balanced: bool
) -> list[tuple[Callable[[Tensor], Tensor], bool]]:
    """For every penalty the function that predicts, and whether the fit converged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scaler = StandardScaler.fit(x)
    z, classes = scaler.transform(x).numpy(), y.numpy()
    model: Any = LogisticRegression(
        max_iter=500, class_weight="balanced" if balanced else None, warm_start=True
    )

    def predictor(fitted: Any) -> Callable[[Tensor], Tensor]:
        return lambda rows: torch.from_numpy(fitted.predict(scaler.transform(rows).numpy()))

    fits = []
    for penalty in penalties:
        # scikit-learn sums over images; ours is a weight per image, as in ridge regression.
        model.set_params(C=1 / (penalty * len(x)))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(z, classes)
        converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
        fits.append((predictor(copy.deepcopy(model)), converged))
    return fits
