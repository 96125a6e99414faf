"""Multinomial logistic regression whose biases are penalised as its weights are, to its minimum.

scikit-learn stops where the gradient of the mean cross entropy is below 1e-4. On features as they are that is
far from the minimum: small features or weak penalties have such gradients from the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_TOLERANCE = 1e-3  # of the gradient where the Hessian is about 1, so of the summed loss about its square


@dataclass(frozen=True)
class SoftmaxClassifier:
    """Weights with the biases in the last row, (D + 1, C) float64, of ``classes`` (C,) int64.

    Args:
        converged: False if the fit ran out of iterations.
    """

    weight: Tensor
    classes: Tensor
    converged: bool

    def predict(self, x: Tensor) -> Tensor:
        """Classes of features: (M, D) -> (M,) int64."""
        return self.classes[(x.double() @ self.weight[:-1] + self.weight[-1]).argmax(1)]


def fit_penalized_logistic(
    x: Tensor, y: Tensor, penalties: Sequence[float], max_iter: int = 5000
) -> list[SoftmaxClassifier]:
    """The minimum of the summed cross entropy plus each penalty times all squares, by L-BFGS of SciPy.

    There is one minimum for each penalty, so how it is reached changes nothing: penalties are gone through
    from the strongest, each from the last minimum, in coordinates in which the Hessian is about the identity.

    Args:
        x: (N, D) features as they are.
        y: (N,) int64, of two classes at least.
        max_iter: of each penalty.
    """
    classes, targets = torch.unique(y, return_inverse=True)
    inputs = torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64)], 1)
    eigenvalues, basis = torch.linalg.eigh(inputs.T @ inputs)
    eigenvalues, inputs = eigenvalues.clamp(min=0), inputs @ basis
    weight = torch.zeros(inputs.shape[1], len(classes), dtype=torch.float64)
    observed = F.one_hot(targets, len(classes)).double()

    fits: dict[float, SoftmaxClassifier] = {}
    for penalty in sorted(set(penalties), reverse=True):
        probabilities = (inputs @ weight).softmax(1)
        variance = float((probabilities * (1 - probabilities)).mean())
        scale = (variance * eigenvalues + 2 * penalty).rsqrt()[:, None]
        weight, converged = _minimum(inputs, observed, weight, penalty, scale, max_iter)
        fits[penalty] = SoftmaxClassifier(basis @ weight, classes, converged)
    return [fits[penalty] for penalty in penalties]


def _minimum(
    inputs: Tensor, observed: Tensor, start: Tensor, penalty: float, scale: Tensor, max_iter: int
) -> tuple[Tensor, bool]:
    """Weights (D, C) of inputs (N, D) and classes (N, C) one-hot, and whether L-BFGS converged.

    Args:
        start: (D, C).
        scale: (D, 1), of the coordinates: weights are ``scale`` times them.
    """
    from scipy.optimize import minimize

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight = torch.from_numpy(flat).view_as(start) * scale
        log_probabilities = (inputs @ weight).log_softmax(1)
        loss = penalty * weight.square().sum() - (observed * log_probabilities).sum()
        gradient = inputs.T @ (log_probabilities.exp() - observed) + 2 * penalty * weight
        return float(loss), (gradient * scale).flatten().numpy()

    options = {"maxiter": max_iter, "maxfun": 2 * max_iter, "gtol": _TOLERANCE, "ftol": 0.0, "maxcor": 20}
    flat = (start / scale).flatten().numpy()
    result = minimize(objective, flat, jac=True, method="L-BFGS-B", options=options)
    return torch.from_numpy(result.x).view_as(start) * scale, result.nit < max_iter
