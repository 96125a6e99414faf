"""Multinomial logistic regression by scikit-learn."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from equissl.evaluate.metrics import balanced_accuracy
from equissl.evaluate.probes.base import ProbeResult, argbest, validation_split
from equissl.evaluate.probes.scaler import StandardScaler

# Per image, on standardised features; strong to weak, so that the stronger of two equals is chosen.
LOGISTIC_PENALTIES = (1.0, 0.1, 0.01, 0.001, 0.0001)


@dataclass(frozen=True)
class LogisticSettings:
    """What is minimised, and for which penalties.

    Args:
        penalties: weights of the squares, the first of equally good ones is chosen; each fit starts from
            the last.
        objective: "mean", the mean cross entropy plus penalty / 2 times the sum of squares of the weights,
            or "sum", the summed cross entropy plus penalty times that of weights and biases (AugSelf's).
        standardize: columns of mean 0 and standard deviation 1; otherwise features are as they are.
        max_iter: iterations of L-BFGS, at most.
    """

    penalties: tuple[float, ...] = LOGISTIC_PENALTIES
    objective: Literal["mean", "sum"] = "mean"
    standardize: bool = True
    max_iter: int = 500

    def inverse(self, penalty: float, count: int, classes: int) -> float:
        """scikit-learn's C: of the summed cross entropy beside half the sum of squares."""
        if self.objective == "mean":
            return 1 / (penalty * count)
        # Of two classes scikit-learn fits one vector, the difference of the two, which has twice the squares.
        return 1 / ((1 if classes == 2 else 2) * penalty)


def logistic(
    x: Tensor,
    y: Tensor,
    groups: Tensor,
    x_test: Tensor,
    seed: int = 0,
    balanced: bool = False,
    settings: LogisticSettings = LogisticSettings(),
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
    penalties = settings.penalties
    if len(torch.unique(y[fit])) < 2:  # one class in what can be fitted: nothing to choose by
        penalty = penalties[len(penalties) // 2]
    else:
        candidates = [p(x[held_out]) for p, _ in _fit(x[fit], y[fit], penalties, balanced, settings)]
        measure = balanced_accuracy if balanced else _accuracy
        penalty = penalties[argbest([measure(c, y[held_out]) for c in candidates])]
    predict, converged = _fit(x, y, (penalty,), balanced, settings)[0]
    return ProbeResult(predict(x_test), penalty, converged)


def _accuracy(predictions: Tensor, targets: Tensor) -> float:
    return float((predictions == targets).double().mean())


def _fit(
    x: Tensor, y: Tensor, penalties: Sequence[float], balanced: bool, settings: LogisticSettings
) -> list[tuple[Callable[[Tensor], Tensor], bool]]:
    """For every penalty the function that predicts, and whether the fit converged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scaler = StandardScaler.fit(x) if settings.standardize else None
    penalize_bias = settings.objective == "sum"

    def inputs(rows: Tensor) -> Any:
        rows = scaler.transform(rows) if scaler else rows
        # A column of ones has a weight that is the bias, penalised as the others are.
        return (torch.cat([rows, torch.ones(len(rows), 1)], 1) if penalize_bias else rows).numpy()

    z, classes = inputs(x), y.numpy()
    model: Any = LogisticRegression(
        max_iter=settings.max_iter,
        class_weight="balanced" if balanced else None,
        warm_start=True,
        fit_intercept=not penalize_bias,
    )

    def predictor(fitted: Any) -> Callable[[Tensor], Tensor]:
        return lambda rows: torch.from_numpy(fitted.predict(inputs(rows)))

    fits = []
    for penalty in penalties:
        # scikit-learn sums over images; "mean" is a weight per image, as in ridge regression.
        model.set_params(C=settings.inverse(penalty, len(x), len(torch.unique(y))))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(z, classes)
        converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
        fits.append((predictor(copy.deepcopy(model)), converged))
    return fits
