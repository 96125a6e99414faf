"""What cross-fitted probes predict, and how that changes with the weights of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from equissl.evaluate.probes.kernel_ridge import simplest

# Of 400 audits of 200 images each (benchmarks/audit_coverage.py), 95 % intervals of a weakly readable factor
# hold the expected score in 87, 94 and 97 % with 0, 0.5 and 1, and those of noise are 1.2, 1.4 and 1.7 times
# as wide as they should be.
CHOICE = 0.55


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
class Candidates:
    """The probes that one fold chooses from.

    Args:
        errors: (K, N) squared errors of each of them, in leave-one-group-out predictions of the images that
            it is fitted on; 0 for those that are held out. From strong to weak penalties.
        count: number of images that are fitted on.
        fit: makes the fit of the k-th.
    """

    errors: Tensor
    count: int
    fit: Callable[[int], FoldFit]

    def chosen(self, weights: Tensor) -> Tensor:
        """Which is chosen where images count ``weights`` (N, R) times each: (R,) int64.

        Weights count for a part only (``CHOICE``): errors hold the chance of which images there are already,
        and that of the weights comes on top.
        """
        return simplest(self.errors @ (1 + CHOICE * (weights - 1)), self.count)

    def reweighted(self, weights: Tensor) -> Tensor:
        """Predictions for the fold, each by the probe that the weights choose: (N, R) -> (R, h, c)."""
        chosen = self.chosen(weights)
        kinds = torch.unique(chosen).tolist()
        parts = [self.fit(k).reweighted(weights[:, chosen == k]) for k in kinds]
        result = parts[0].new_empty(len(chosen), *parts[0].shape[1:])
        for k, part in zip(kinds, parts, strict=True):
            result[chosen == k] = part
        return result


@dataclass(frozen=True)
class CrossFit:
    """Predictions for all images, each by a probe that did not see its fold.

    Args:
        folds: the fit of each fold where all images count once.
        candidates: of each fold.
        bounds: least and greatest target of each column, (2, c): predictions end there.
        inner: probe -> sum of squared errors of its leave-one-group-out predictions, with its best penalty.
    """

    folds: tuple[FoldFit, ...]
    candidates: tuple[Candidates, ...] = field(repr=False)
    bounds: Tensor
    inner: Mapping[str, float]

    def predictions(self) -> Tensor:
        """(N, c), within the range of the targets."""
        return self.reweighted(torch.ones(self._count(), 1, dtype=torch.float64))[0]

    def reweighted(self, weights: Tensor) -> Tensor:
        """Predictions where images count ``weights`` times each, in the choice of probes and in their fits.

        (N, R) -> (R, N, c).
        """
        result = torch.empty(weights.shape[1], self._count(), self.bounds.shape[1], dtype=torch.float64)
        for fold, candidates in zip(self.folds, self.candidates, strict=True):
            result[:, fold.held_out] = candidates.reweighted(weights)
        return torch.minimum(torch.maximum(result, self.bounds[0]), self.bounds[1])

    def _count(self) -> int:
        return sum(len(fold.held_out) for fold in self.folds)
