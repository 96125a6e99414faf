"""What cross-fitted probes predict, and how that changes with the weights of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class FoldFit:
    """A probe that was fitted without one fold, and how its predictions change with the weights of images.

    Args:
        held_out, fit: rows, int64 (h,) and (t,).
        predictions: (h, c).
        smoother: (h, t), how the predictions depend on the targets of ``fit``.
        residuals: (t, c) of the images that it was fitted on.
        leverage: (t,) in [0, 1), how much the prediction for each of them depends on its own target.
        probe: which one was chosen.
        penalty: or the number of columns of the sparse probe.
    """

    held_out: Tensor
    fit: Tensor
    predictions: Tensor
    smoother: Tensor
    residuals: Tensor
    leverage: Tensor
    probe: str
    penalty: float

    def reweighted(self, weights: Tensor) -> Tensor:
        """Predictions where image k counts ``weights[k]`` times: (N, R) -> (R, h, c).

        Exact for the weight of a single image; the effects of several are added, which leaves out how they
        influence each other.
        """
        change = weights[self.fit] - 1
        change = change / (1 + change * self.leverage[:, None])
        moved = [self.smoother @ (change * column[:, None]) for column in self.residuals.T]
        return self.predictions + torch.stack(moved, -1).transpose(0, 1)


@dataclass(frozen=True)
class CrossFit:
    """Predictions for all images, each by a probe that did not see its fold.

    Args:
        folds: one fit for each fold.
        bounds: least and greatest target of each column, (2, c): predictions end there.
        inner: probe -> sum of squared errors of its leave-one-group-out predictions, with its best penalty.
    """

    folds: tuple[FoldFit, ...]
    bounds: Tensor
    inner: Mapping[str, float]

    def predictions(self) -> Tensor:
        """(N, c), within the range of the targets."""
        return self.reweighted(torch.ones(self._count(), 1, dtype=torch.float64))[0]

    def reweighted(self, weights: Tensor) -> Tensor:
        """Predictions by fits on images that count ``weights`` times each: (N, R) -> (R, N, c)."""
        result = torch.empty(weights.shape[1], self._count(), self.bounds.shape[1], dtype=torch.float64)
        for fold in self.folds:
            result[:, fold.held_out] = fold.reweighted(weights)
        return torch.minimum(torch.maximum(result, self.bounds[0]), self.bounds[1])

    def _count(self) -> int:
        return sum(len(fold.held_out) for fold in self.folds)
