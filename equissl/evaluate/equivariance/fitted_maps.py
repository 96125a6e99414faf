"""Linear maps of features that are fitted to a change of the images: phi(g x) = M_g phi(x).

Every image is mapped by maps that were fitted without its fold. What is regressed is the difference
phi(g x) - phi(x) on phi(x), so that the strongest penalty leaves the mean shift, and no change is mapped
exactly to itself. Source of the question: Lenc and Vedaldi, arXiv:1411.5908, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from equissl.evaluate.audit.readouts.interval import resample_weights
from equissl.evaluate.probes.cross_fit import cross_fit, fold_numbers
from equissl.evaluate.probes.fold_fit import CrossFit, FoldFit
from equissl.evaluate.probes.kernel_ridge import INTERCEPT
from equissl.evaluate.statistics import Z95, Estimate
from equissl.random import Stream

FOLDS = 5
RESAMPLES = 100  # their spread is used, not their tails
_ROUNDING = 1e-6  # of a column's largest value: what varies less is rounding
_LEAST = 1e-12  # what is less than this of the change is rounding
_DIRECTIONS = 32


@dataclass(frozen=True)
class Ratio:
    """A ratio of two sums over images, with its values in bootstrap resamples: (R,)."""

    value: float
    resamples: Tensor

    @staticmethod
    def of(errors: Tensor, changes: Tensor, weights: Tensor) -> Ratio:
        """sum(errors) / sum(changes), (N,) each, of images that count ``weights`` (N, R) times."""
        return Ratio(float(errors.sum() / changes.sum()), (weights.T @ errors) / (weights.T @ changes))

    def interval(self) -> Estimate:
        """95 %, normal on the scale of the logarithm."""
        return interval_of(self.value, math.sqrt(float(self.logs().var())))

    def root(self) -> Ratio:
        return Ratio(math.sqrt(self.value), self.resamples.sqrt())

    def logs(self) -> Tensor:
        return self.resamples.clamp(min=_LEAST).log()


def interval_of(value: float, spread: float) -> Estimate:
    """95 % about a ratio whose logarithm has the deviation ``spread``."""
    return Estimate(value, value * math.exp(-Z95 * spread), value * math.exp(Z95 * spread))


@dataclass(frozen=True)
class FittedMaps:
    """Maps of features for several changes, fitted on the same folds.

    Args:
        plain: (N, D) float64 features in units of their deviation.
        changed: change -> (N, D), in the same units.
        fits: change -> its fits, one for each fold.
        means: change -> (D,), what the fits add.
        weights: (N, R) bootstrap weights.
        live: columns that vary; others are left out.
        width: columns in all.
    """

    plain: Tensor
    changed: Mapping[str, Tensor]
    fits: Mapping[str, tuple[FoldFit, ...]]
    means: Mapping[str, Tensor]
    weights: Tensor
    live: int
    width: int

    @staticmethod
    def of(plain: Tensor, changed: Mapping[str, Tensor], groups: Tensor, seed: int = 0) -> FittedMaps:
        """Fit a map for each change of features (N, D); images of one group (N,) share a fold."""
        every = torch.cat([plain, *changed.values()]).double()
        mean, std = every.mean(0), every.std(0, correction=0)
        alive = std > _ROUNDING * every.abs().amax(0)
        x, *others = (((v.double() - mean) / std)[:, alive] for v in (plain, *changed.values()))
        units = dict(zip(changed, others, strict=True))
        fits: list[CrossFit] = []
        if x.shape[1] and changed:
            kernel = x @ x.T / x.shape[1]
            folds = fold_numbers(groups, FOLDS, seed, "maps")
            fits = cross_fit({"linear": kernel}, None, [y - x for y in others], groups, folds)
        return FittedMaps(
            x,
            units,
            {name: fit.folds for name, fit in zip(changed, fits, strict=bool(fits))},
            {name: (y - x).mean(0) for name, y in units.items()},
            resample_weights(groups, RESAMPLES, seed),
            int(alive.sum()),
            plain.shape[1],
        )

    def amplitude(self, change: str) -> Ratio:
        """Root of the mean squared change, in units of that between two different images."""
        between = 2 * (self.plain - self.plain.mean(0)).square().sum(1)
        return Ratio.of(self._squares(change), between.clamp(min=1e-300), self.weights).root()

    def error(self, change: str) -> Ratio:
        """sum |phi(g x) - M_g phi(x)|^2 / sum |phi(g x) - phi(x)|^2; 1 for M_g the identity."""
        target, weights = self.changed[change] - self.plain, self.weights
        errors = torch.empty(len(target), dtype=torch.float64)
        # How refitting changes the sum is measured on a few random directions of the features.
        directions = _directions(target.shape[1])
        projected = target @ directions
        before, after = torch.zeros(2, weights.shape[1], dtype=torch.float64)
        for fold in self.fits[change]:
            rows = fold.held_out
            errors[rows] = (target[rows] - fold.predictions).square().sum(1)
            few = replace(
                fold,
                predictions=fold.predictions @ directions,
                residuals=fold.residuals @ directions,
            )
            refitted = (projected[rows] - few.reweighted(weights)).square().sum(2)  # (R, h)
            before += weights[rows].T @ (projected[rows] - few.predictions).square().sum(1)
            after += (weights[rows].T * refitted).sum(1)
        ratio = Ratio.of(errors, self._squares(change), weights)
        return Ratio(ratio.value, ratio.resamples * after / before.clamp(min=1e-300))

    def shift_error(self, change: str) -> Ratio:
        """As ``error``, of adding the mean change of the other folds."""
        return self._mean_error(change, self.changed[change] - self.plain)

    def constant_error(self, change: str) -> Ratio:
        """As ``error``, of the mean of the changed images of the other folds."""
        return self._mean_error(change, self.changed[change])

    def _mean_error(self, change: str, target: Tensor) -> Ratio:
        errors = torch.empty(len(target), dtype=torch.float64)
        for fold in self.fits[change]:
            errors[fold.held_out] = (target[fold.held_out] - target[fold.fit].mean(0)).square().sum(1)
        return Ratio.of(errors, self._squares(change), self.weights)

    def product_error(self, first: str, second: str, product: str) -> Ratio:
        """sum |M_h M_g phi(x) - M_k phi(x)|^2 / sum (|phi(g x) - phi(x)|^2 + |phi(h x) - phi(x)|^2) / 2.

        g is the first change, h the second, k what they make up, "" if nothing changes. The fits stay the
        same in all resamples.
        """
        once = self.mapped(product, self.plain) if product else self.plain
        twice = self.mapped(second, self.mapped(first, self.plain))
        return Ratio.of((twice - once).square().sum(1), self._both(first, second), self.weights)

    def product_shift_error(self, first: str, second: str, product: str) -> Ratio:
        """As ``product_error``, of adding the mean changes."""
        shift = self.means[first] + self.means[second]
        error = (shift - (self.means[product] if product else 0)).square().sum()
        return Ratio.of(error.expand(len(self.plain)), self._both(first, second), self.weights)

    def composed_error(self, first: str, second: str, product: str) -> float:
        """As ``error`` of the change ``product``, of the two maps one after the other."""
        twice = self.mapped(second, self.mapped(first, self.plain))
        errors = (self.changed[product] - twice).square().sum()
        return float(errors / self._squares(product).sum())

    def mapped(self, change: str, x: Tensor) -> Tensor:
        """M_g of features (N, D) of the images, each by the map that was fitted without its fold."""
        result = torch.empty_like(x)
        for fold in self.fits[change]:
            rows = x[fold.held_out]
            kernel = rows @ self.plain[fold.fit].T / x.shape[1] + INTERCEPT
            dual = fold.residuals / fold.penalty
            result[fold.held_out] = rows + kernel @ dual + self.means[change]
        return result

    def _squares(self, change: str) -> Tensor:
        return (self.changed[change] - self.plain).square().sum(1)

    def _both(self, first: str, second: str) -> Tensor:
        return (self._squares(first) + self._squares(second)) / 2


def _directions(width: int) -> Tensor:
    """Orthonormal directions (D, d), all of them if there are few."""
    if width <= _DIRECTIONS:
        return torch.eye(width, dtype=torch.float64)
    drawn = Stream.of(torch.arange(width), "directions").normal("d", _DIRECTIONS).double()
    directions: Tensor = torch.linalg.qr(drawn)[0]
    return directions
