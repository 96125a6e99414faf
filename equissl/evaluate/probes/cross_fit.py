"""Cross-fitted probes: every image is predicted by a probe that was fitted without its fold.

Ridge regression with several kernels, and on the few columns that correlate most with the target. The kernel
and the penalty are chosen anew in each fold, by leave-one-group-out predictions of the other folds. All of
it is in closed form from one eigendecomposition of a kernel, by inverses of blocks: with M = (K + penalty)^-1
and a = M y, leaving out the images F gives the predictions y_F - (M_FF)^-1 a_F.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from equissl.random import shuffled

PENALTIES = tuple(10.0**k for k in range(3, -6, -1))  # strong to weak, of kernels with a diagonal about 1
SPARSE_SIZES = (1, 4, 16, 64)  # columns of the sparse probe
INTERCEPT = 1e3  # variance of the constant in each kernel, which the penalty hardly touches
_SPARSE_PENALTY = 1e-3  # per image, on standardised columns


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


def fold_numbers(groups: Tensor, folds: int, *seed: int | str) -> Tensor:
    """A fold 0 ... folds - 1 for each image, int64 (N,); images of one group share it."""
    names, which = torch.unique(groups, return_inverse=True)
    position = torch.empty(len(names), dtype=torch.int64)
    position[shuffled(len(names), *seed, "folds")] = torch.arange(len(names))
    return position[which] % folds


def cross_fit(
    kernels: Mapping[str, Tensor],
    columns: Tensor | None,
    targets: Sequence[Tensor],
    groups: Tensor,
    folds: Tensor,
) -> list[CrossFit]:
    """Cross-fitted predictions of several targets from the same features.

    Args:
        kernels: probe -> (N, N) float64, positive semi-definite, with a diagonal of about 1.
        columns: (N, D) standardised features of the sparse probe; None for none.
        targets: (N, c) float64 each.
        groups: (N,) int64.
        folds: (N,) int64, of ``fold_numbers``.
    """
    joined = torch.cat([t.double() for t in targets], 1)
    slices, start = [], 0
    for t in targets:
        slices.append(slice(start, start + t.shape[1]))
        start += t.shape[1]
    means = joined.mean(0)
    centred = joined - means
    rows = [(folds == k).nonzero()[:, 0] for k in range(int(folds.max()) + 1)]
    rows = [r for r in rows if len(r)]
    others = [
        torch.ones(len(joined), dtype=torch.bool).index_fill_(0, r, False).nonzero()[:, 0] for r in rows
    ]
    spectra = {n: torch.linalg.eigh(k + INTERCEPT) for n, k in kernels.items()}
    blocks = GroupBlocks(groups)
    errors = {
        (name, penalty): _inner_errors(_inverse(spectrum, penalty), centred, rows, others, blocks)
        for penalty in PENALTIES
        for name, spectrum in spectra.items()
    }
    results = []
    for part, target in zip(slices, targets, strict=True):
        y = centred[:, part]
        sparse = None if columns is None else SparseProbe(columns, y, rows)
        fits = []
        for k, (held, fit) in enumerate(zip(rows, others, strict=True)):
            found = {key: float(e[k, part].sum()) for key, e in errors.items()}
            if sparse is not None:
                found |= {("sparse", float(size)): e for size, e in sparse.inner_errors(k).items()}
            probe, penalty = simplest(found, len(fit))
            chosen = (
                sparse.fit(k, int(penalty))
                if sparse is not None and probe == "sparse"
                else _fold_fit(_inverse(spectra[probe], penalty), y, held, fit, probe, penalty)
            )
            fits.append(chosen)
        best: dict[str, float] = {}
        for (name, _), e in errors.items():
            total = float(e[:, part].sum())
            best[name] = min(best.get(name, total), total)
        if sparse is not None:
            sizes = [sparse.inner_errors(k) for k in range(len(rows))]
            best["sparse"] = min(sum(s[size] for s in sizes) for size in sizes[0])
        shift = means[part]
        moved = tuple(replace(f, predictions=f.predictions + shift) for f in fits)
        bounds = torch.stack([target.double().amin(0), target.double().amax(0)])
        results.append(CrossFit(moved, bounds, best))
    return results


class GroupBlocks:
    """Leave-one-group-out errors from the inverse of a kernel matrix.

    Args:
        groups: (N,) int64.
    """

    def __init__(self, groups: Tensor):
        self.groups = groups
        self.single = len(torch.unique(groups)) == len(groups)

    def errors(self, inverse: Tensor, dual: Tensor, rows: Tensor) -> Tensor:
        """Errors of predictions for the images ``rows`` that were made without their group: (t, c)."""
        if self.single:
            return dual / inverse.diagonal()[:, None]
        result = torch.empty_like(dual)
        groups = self.groups[rows]
        order = groups.argsort(stable=True)
        counts = torch.unique_consecutive(groups[order], return_counts=True)[1]
        starts = counts.cumsum(0) - counts
        for size in torch.unique(counts).tolist():  # groups of one size are solved together
            members = order[starts[counts == size][:, None] + torch.arange(size)]
            blocks = inverse[members[:, :, None], members[:, None, :]]
            result[members] = torch.linalg.solve(blocks, dual[members])
        return result


def simplest(errors: Mapping[tuple[str, float], float], count: int) -> tuple[str, float]:
    """The first, so the one of the strongest penalty, that is not clearly worse than the best.

    Without this allowance, by which errors differ by chance, weak penalties are chosen where there is
    nothing to read.
    """
    limit = min(errors.values()) * (1 + 2 / count)
    return next(key for key, error in errors.items() if error <= limit)


def _inverse(spectrum: tuple[Tensor, Tensor], penalty: float) -> Tensor:
    values, vectors = spectrum
    return (vectors / (values.clamp(min=0) + penalty)) @ vectors.T


def _inner_errors(
    inverse: Tensor, y: Tensor, rows: Sequence[Tensor], others: Sequence[Tensor], blocks: GroupBlocks
) -> Tensor:
    """For each fold that is left out, squared errors of leave-one-group-out within the others: (K, c)."""
    dual = inverse @ y
    result = []
    for held, fit in zip(rows, others, strict=True):
        across = inverse[fit][:, held]
        solved = torch.linalg.solve(inverse[held][:, held], torch.cat([across.T, dual[held]], 1))
        without = dual[fit] - across @ solved[:, len(fit) :]
        if blocks.single:
            diagonal = inverse.diagonal()[fit] - (across * solved[:, : len(fit)].T).sum(1)
            errors = without / diagonal[:, None]
        else:
            errors = blocks.errors(inverse[fit][:, fit] - across @ solved[:, : len(fit)], without, fit)
        result.append(errors.square().sum(0))
    return torch.stack(result)


def _fold_fit(inverse: Tensor, y: Tensor, held: Tensor, fit: Tensor, probe: str, penalty: float) -> FoldFit:
    across = inverse[fit][:, held]
    smoother = -torch.linalg.solve(inverse[held][:, held], across.T)
    dual = (inverse[fit] @ y) + smoother.T @ (inverse[held] @ y)
    diagonal = inverse.diagonal()[fit] + (across * smoother.T).sum(1)
    return FoldFit(
        held, fit, smoother @ y[fit], smoother, penalty * dual, 1 - penalty * diagonal, probe, penalty
    )


class SparseProbe:
    """Ridge regression on the columns that correlate most with the target among the images it is fitted on.

    Args:
        x: (N, D) standardised features.
        y: (N, c) centred targets.
        rows: of each fold.
    """

    def __init__(self, x: Tensor, y: Tensor, rows: Sequence[Tensor]):
        self.x, self.y, self.rows = x, y, rows
        self.moments = [_moments(x[r].double(), y[r]) for r in rows]
        self.sizes = [s for s in SPARSE_SIZES if s <= x.shape[1]] or [x.shape[1]]
        self.known: dict[int, dict[int, float]] = {}

    def inner_errors(self, fold: int) -> dict[int, float]:
        """Number of columns -> squared error over the other folds, each left out in turn as well."""
        if fold not in self.known:
            total = dict.fromkeys(self.sizes, 0.0)
            for k in range(len(self.rows)):
                if k != fold:
                    for size, predictions in self._predict((fold, k), self.rows[k]).items():
                        total[size] += float((self.y[self.rows[k]] - predictions).square().sum())
            self.known[fold] = total
        return self.known[fold]

    def fit(self, fold: int, size: int) -> FoldFit:
        """The fit without a fold on the ``size`` best columns."""
        fit = torch.cat([r for k, r in enumerate(self.rows) if k != fold])
        columns = self._ranked((fold,))[:size]
        z, held = _with_constant(self.x[fit][:, columns]), _with_constant(self.x[self.rows[fold]][:, columns])
        solved = _ridge_solve(z, z.T)
        smoother = held @ solved
        residuals = self.y[fit] - z @ (solved @ self.y[fit])
        leverage = (z * solved.T).sum(1)
        predictions = smoother @ self.y[fit]
        return FoldFit(
            self.rows[fold], fit, predictions, smoother, residuals, leverage, "sparse", float(size)
        )

    def _predict(self, without: tuple[int, ...], rows: Tensor) -> dict[int, Tensor]:
        fit = torch.cat([r for k, r in enumerate(self.rows) if k not in without])
        ranked = self._ranked(without)[: max(self.sizes)]
        z, held = self.x[fit][:, ranked], self.x[rows][:, ranked]
        return {
            size: _with_constant(held[:, :size])
            @ _ridge_solve(a := _with_constant(z[:, :size]), a.T @ self.y[fit])
            for size in self.sizes
        }

    def _ranked(self, without: tuple[int, ...]) -> Tensor:
        """Columns by their correlation with the targets, in the folds that are left."""
        kept = [k for k in range(len(self.rows)) if k not in without]
        count = sum(len(self.rows[k]) for k in kept)
        x, y, xx, xy = (torch.stack([self.moments[k][j] for k in kept]).sum(0) / count for j in range(4))
        covariance = xy - x[:, None] * y
        return (covariance.square().sum(1) / (xx - x.square()).clamp(min=1e-12)).argsort(descending=True)


def _moments(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return x.sum(0), y.sum(0), x.square().sum(0), x.T @ y


def _with_constant(x: Tensor) -> Tensor:
    return torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64)], 1)


def _ridge_solve(z: Tensor, right: Tensor) -> Tensor:
    gram = z.T @ z
    gram.diagonal()[:-1] += _SPARSE_PENALTY * len(z)
    solved: Tensor = torch.linalg.solve(gram, right)
    return solved
