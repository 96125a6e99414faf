"""Cross-fitted probes: every image is predicted by a probe that was fitted without its fold.

Ridge regression with several kernels, and on the few columns that correlate most with the target. The kernel
and the penalty are chosen anew in each fold, by leave-one-group-out predictions of the other folds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from equissl.evaluate.probes.fold_fit import Candidates, CrossFit, FoldFit
from equissl.evaluate.probes.kernel_ridge import (
    INTERCEPT,
    errors_by_penalty,
    inverse,
    spectrum,
)
from equissl.evaluate.probes.sparse_probe import SparseProbe
from equissl.random import shuffled

LEAST_FOLDS = 3  # one is predicted and one more left out to choose a probe, which leaves one to fit on


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
        folds: (N,) int64, of ``fold_numbers``; ``LEAST_FOLDS`` or more of them have images.
    """
    joined = torch.cat([t.double() for t in targets], 1)
    means = joined.mean(0)
    rows = [r for k in range(int(folds.max()) + 1) if len(r := (folds == k).nonzero()[:, 0])]
    probes = _KernelProbes(kernels, joined - means, rows, groups)
    results, start = [], 0
    for target in targets:
        part = slice(start, start := start + target.shape[1])
        sparse = None if columns is None else SparseProbe(columns, probes.y[:, part], rows)
        candidates = tuple(_candidates(probes, sparse, part, means[part], k) for k in range(len(rows)))
        once = torch.ones(len(joined), 1, dtype=torch.float64)
        fits = tuple(c.fit(int(c.chosen(once))) for c in candidates)
        bounds = torch.stack([target.double().amin(0), target.double().amax(0)])
        results.append(CrossFit(fits, candidates, bounds, _best_errors(probes.keys, candidates, sparse)))
    return results


class _KernelProbes:
    """Ridge regression with several kernels on all folds but one.

    Args:
        y: (N, c) centred targets.
        rows: of each fold.
    """

    def __init__(self, kernels: Mapping[str, Tensor], y: Tensor, rows: Sequence[Tensor], groups: Tensor):
        self.kernels, self.y, self.rows = kernels, y, rows
        everyone = torch.ones(len(y), dtype=torch.bool)
        self.others = [everyone.index_fill(0, r, False).nonzero()[:, 0] for r in rows]
        self.spectra = [{n: spectrum(k[r][:, r]) for n, k in kernels.items()} for r in self.others]
        # Of each fold: probe and penalty, from strong to weak -> (t, c) squared errors within the others.
        self.errors = []
        for fit, spectra in zip(self.others, self.spectra, strict=True):
            self.errors.append(errors_by_penalty(spectra, y[fit], groups[fit]))
        self.keys = tuple(self.errors[0])

    def fit(self, fold: int, part: slice, probe: str, penalty: float) -> FoldFit:
        held, fit = self.rows[fold], self.others[fold]
        y, solved = self.y[fit, part], inverse(self.spectra[fold][probe], penalty)
        smoother = (self.kernels[probe][held][:, fit] + INTERCEPT) @ solved
        leverage = 1 - penalty * solved.diagonal()
        residuals = penalty * (solved @ y)
        return FoldFit(held, fit, smoother @ y, smoother, residuals, leverage, probe, penalty)


def _candidates(
    probes: _KernelProbes, sparse: SparseProbe | None, part: slice, mean: Tensor, fold: int
) -> Candidates:
    """All kernels and penalties, then the sizes of the sparse probe.

    Args:
        mean: (c,) of the targets, which is added to predictions.
    """
    errors = torch.zeros(len(probes.keys), len(probes.y), dtype=torch.float64)
    errors[:, probes.others[fold]] = torch.stack([e[:, part].sum(1) for e in probes.errors[fold].values()])
    if sparse is not None:
        errors = torch.cat([errors, sparse.inner_errors(fold)])

    @cache
    def fit(k: int) -> FoldFit:
        if k < len(probes.keys):
            found = probes.fit(fold, part, *probes.keys[k])
        else:
            assert sparse is not None
            found = sparse.fit(fold, sparse.sizes[k - len(probes.keys)])
        return replace(found, predictions=found.predictions + mean)

    return Candidates(errors, len(probes.others[fold]), fit)


def _best_errors(
    keys: Sequence[tuple[str, float]], candidates: Sequence[Candidates], sparse: SparseProbe | None
) -> dict[str, float]:
    """Probe -> squared error over all folds with its best penalty."""
    totals = torch.stack([c.errors.sum(1) for c in candidates]).sum(0).tolist()
    names = [name for name, _ in keys] + ["sparse"] * (0 if sparse is None else len(sparse.sizes))
    return {name: min(t for n, t in zip(names, totals, strict=True) if n == name) for name in names}
