"""Scores of cross-fitted probes with intervals that include the variance of fitting, draws and splits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.evaluate.probes.fold_fit import CrossFit
from equissl.evaluate.statistics import Z95, Estimate

RESAMPLES = 1000
_LEAST = 1e-9


def resample_weights(groups: Tensor, resamples: int = RESAMPLES, seed: int = 0) -> Tensor:
    """How often each image is drawn in each bootstrap resample of the groups: (N, R) float64.

    Scores of one set of images that use the same weights can be compared resample by resample.
    """
    _, which = torch.unique(groups, return_inverse=True)
    count = int(which.max()) + 1
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(count, (resamples, count), generator=generator)
    weights = torch.zeros(resamples, count, dtype=torch.float64)
    weights.scatter_add_(1, drawn, torch.ones((), dtype=torch.float64).expand(resamples, count))
    return weights.T[which]


@dataclass(frozen=True)
class Resampled:
    """A score, the mean over repeats (draws and splits), and its values in bootstrap resamples.

    Args:
        values: (S,) of each repeat.
        resamples: (R,) means over repeats; fits change with the resample.
        regress: an R2; otherwise a balanced accuracy.
    """

    values: Tensor
    resamples: Tensor
    regress: bool

    @classmethod
    def stored(cls, values: Tensor, resamples: Tensor, regress: bool) -> Resampled:
        """A score from tensors of a file.

        Raises:
            ValueError: they are of another shape or type, or not finite.
        """
        if values.ndim != 1 or resamples.ndim != 1 or not (len(values) and len(resamples) > 1):
            raise ValueError("scores have another shape")
        if not (values.is_floating_point() and resamples.is_floating_point()):
            raise ValueError("scores are no floating-point numbers")
        values, resamples = values.double(), resamples.double()
        if not bool(torch.cat([values, resamples]).isfinite().all()):
            raise ValueError("scores are not finite")
        return cls(values, resamples, regress)

    @property
    def value(self) -> float:
        return float(self.values.mean())

    def interval(self) -> Estimate:
        """95 %: normal on the scale log(1 - R2), or on that of the accuracy."""
        if not self.regress:
            half = Z95 * math.sqrt(self.variance())
            return Estimate(self.value, max(0.0, self.value - half), min(1.0, self.value + half))
        logs = (1 - self.resamples).clamp(min=_LEAST).log()
        spread = math.sqrt(float(logs.var()) + _split_variance((1 - self.values).clamp(min=_LEAST).log()))
        error = max(1 - self.value, _LEAST)
        return Estimate(self.value, 1 - error * math.exp(Z95 * spread), 1 - error * math.exp(-Z95 * spread))

    def variance(self) -> float:
        """Of the score itself."""
        return float(self.resamples.var()) + _split_variance(self.values)


def _split_variance(values: Tensor) -> float:
    return float(values.var()) / len(values) if len(values) > 1 else 0.0


def resampled(
    fits: Sequence[CrossFit], targets: Sequence[Tensor], weights: Tensor, regress: bool
) -> Resampled:
    """R2, pooled over columns, or balanced accuracy of one-hot targets, of repeats of a cross-fit.

    Args:
        targets: (N, c) of each repeat.
        weights: (N, R), of ``resample_weights``.
    """
    statistic = _r2 if regress else _accuracy
    once = torch.ones(len(weights), 1, dtype=torch.float64)
    values = [statistic(fit.reweighted(once), y, once) for fit, y in zip(fits, targets, strict=True)]
    resamples = [statistic(fit.reweighted(weights), y, weights) for fit, y in zip(fits, targets, strict=True)]
    return Resampled(torch.cat(values), torch.stack(resamples).mean(0), regress)


def beyond(together: Resampled, alone: Resampled) -> Resampled:
    """The share of the errors of some features, ``alone``, that others beside them take away.

    Of R2 it is the partial R2; of accuracies the same share of the wrong answers, below 0 where there are
    more of them. Intervals are those of an R2, as both are shares of errors.
    """

    def share(both: Tensor, one: Tensor) -> Tensor:
        return 1 - (1 - both) / (1 - one).clamp(min=_LEAST)

    return Resampled(
        share(together.values, alone.values),
        share(together.resamples, alone.resamples),
        regress=True,
    )


def fit_score(fit: CrossFit, targets: Tensor, regress: bool) -> float:
    """R2 or balanced accuracy of a cross-fit on its own images."""
    once = torch.ones(len(targets), 1, dtype=torch.float64)
    return float((_r2 if regress else _accuracy)(fit.reweighted(once), targets, once))


def _r2(predictions: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """(R, N, c), (N, c), (N, R) -> (R,)."""
    y, w = targets.double(), weights.T
    total_weight = w.sum(1)
    mean = w @ y / total_weight[:, None]
    total = (w @ y.square() - total_weight[:, None] * mean.square()).sum(1)
    error = torch.einsum("rn,rnc->r", w, (predictions - y).square())
    return 1 - error / total.clamp(min=1e-300)


def _accuracy(predictions: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """The same; the mean over the classes that images of a resample have."""
    truth = targets.argmax(1)
    hits = (predictions.argmax(2) == truth).double() * weights.T
    one_hot = targets.double()
    counts = weights.T @ one_hot
    return ((hits @ one_hot) / counts.clamp(min=1e-300)).sum(1) / (counts > 0).sum(1)
