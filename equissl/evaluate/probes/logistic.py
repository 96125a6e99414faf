"""Multinomial logistic regression by scikit-learn, or AugSelf's by SciPy."""

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
from equissl.evaluate.probes.penalized_logistic import fit_penalized_logistic
from equissl.evaluate.probes.scaler import StandardScaler

# Per image, on standardised features; strong to weak, so that the stronger of two equals is chosen.
LOGISTIC_PENALTIES = (1.0, 0.1, 0.01, 0.001, 0.0001)
# Of the gradient, per penalty: a weight is within the gradient / penalty of the minimum. scikit-learn's own
# tolerance, 1e-4 for all penalties, moved accuracies by up to 0.016 (40 images of 64 columns) and 0.004
# (1,200 images of 2,048).
_TOLERANCE, _LARGEST_TOLERANCE = 1e-3, 1e-5


@dataclass(frozen=True)
class LogisticSettings:
    """What is minimised, and for which penalties.

    Args:
        penalties: weights of the squares, the first of equally good ones is chosen; each fit starts from
            another.
        objective: "mean", the mean cross entropy plus penalty / 2 times the sum of squares of the weights,
            or "sum", the summed cross entropy plus penalty times that of weights and biases (AugSelf's).
        standardize: columns of mean 0 and standard deviation 1; otherwise features are as they are.
        max_iter: iterations of L-BFGS, at most, for each penalty.
    """

    penalties: tuple[float, ...] = LOGISTIC_PENALTIES
    objective: Literal["mean", "sum"] = "mean"
    standardize: bool = True
    max_iter: int = 2000


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
        balanced: every class counts the same, and the penalty is chosen by balanced accuracy; with the
            objective "mean" only.

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
    # The sum's minima are found from those of stronger penalties.
    last = [p for p in penalties if p > penalty] if settings.objective == "sum" else []
    predict, converged = _fit(x, y, (*last, penalty), balanced, settings)[-1]
    return ProbeResult(predict(x_test), penalty, converged)


def _accuracy(predictions: Tensor, targets: Tensor) -> float:
    return float((predictions == targets).double().mean())


def _fit(
    x: Tensor, y: Tensor, penalties: Sequence[float], balanced: bool, settings: LogisticSettings
) -> list[tuple[Callable[[Tensor], Tensor], bool]]:
    """For every penalty the function that predicts, and whether the fit converged."""
    if not settings.standardize:
        return _fit_inputs(x, y, penalties, balanced, settings)
    scaler = StandardScaler.fit(x)

    def predictor(predict: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda rows: predict(scaler.transform(rows))

    fits = _fit_inputs(scaler.transform(x), y, penalties, balanced, settings)
    return [(predictor(predict), converged) for predict, converged in fits]


def _fit_inputs(
    x: Tensor, y: Tensor, penalties: Sequence[float], balanced: bool, settings: LogisticSettings
) -> list[tuple[Callable[[Tensor], Tensor], bool]]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if settings.objective == "sum":
        minima = fit_penalized_logistic(x, y, penalties, settings.max_iter)
        return [(minimum.predict, minimum.converged) for minimum in minima]
    model: Any = LogisticRegression(
        max_iter=settings.max_iter, class_weight="balanced" if balanced else None, warm_start=True
    )

    def predictor(fitted: Any) -> Callable[[Tensor], Tensor]:
        return lambda rows: torch.from_numpy(fitted.predict(rows.double().numpy()))

    fits = []
    for penalty in penalties:
        # scikit-learn sums over images; "mean" is a weight per image, as in ridge regression.
        tolerance = min(_LARGEST_TOLERANCE, _TOLERANCE * penalty)
        model.set_params(C=1 / (penalty * len(x)), tol=tolerance)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(x.double().numpy(), y.numpy())
        converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
        fits.append((predictor(copy.deepcopy(model)), converged))
    return fits
