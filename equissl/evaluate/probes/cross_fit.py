"""Cross-fitted probes: every image is predicted by a probe that was fitted without its fold.

Ridge regression with several kernels, and on the few columns that correlate most with the target. The kernel
and the penalty are chosen anew in each fold, by leave-one-group-out predictions of the other folds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from equissl.evaluate.probes.fold_fit import CrossFit, FoldFit
from equissl.evaluate.probes.kernel_ridge import (
    INTERCEPT,
    errors_by_penalty,
    inverse,
    simplest,
    spectrum,
)
from equissl.evaluate.probes.sparse_probe import SparseProbe
from equissl.random import shuffled


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
    means = joined.mean(0)
    rows = [r for k in range(int(folds.max()) + 1) if len(r := (folds == k).nonzero()[:, 0])]
    probes = _KernelProbes(kernels, joined - means, rows, groups)
    results, start = [], 0
    for target in targets:
        part = slice(start, start := start + target.shape[1])
        sparse = None if columns is None else SparseProbe(columns, probes.y[:, part], rows)
        fits = _chosen_fits(probes, sparse, part)
        moved = tuple(replace(f, predictions=f.predictions + means[part]) for f in fits)
        bounds = torch.stack([target.double().amin(0), target.double().amax(0)])
        results.append(CrossFit(moved, bounds, _best_errors(probes, sparse, part)))
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
        # Of each fold: probe and penalty, from strong to weak -> (c,) squared errors within the others.
        self.errors = []
        for fit, spectra in zip(self.others, self.spectra, strict=True):
            self.errors.append(errors_by_penalty(spectra, y[fit], groups[fit]))

    def fit(self, fold: int, part: slice, probe: str, penalty: float) -> FoldFit:
        held, fit = self.rows[fold], self.others[fold]
        y, solved = self.y[fit, part], inverse(self.spectra[fold][probe], penalty)
        smoother = (self.kernels[probe][held][:, fit] + INTERCEPT) @ solved
        leverage = 1 - penalty * solved.diagonal()
        residuals = penalty * (solved @ y)
        return FoldFit(held, fit, smoother @ y, smoother, residuals, leverage, probe, penalty)


def _chosen_fits(probes: _KernelProbes, sparse: SparseProbe | None, part: slice) -> Iterator[FoldFit]:
    for k, others in enumerate(probes.others):
        found = {key: float(e[part].sum()) for key, e in probes.errors[k].items()}
        if sparse is not None:
            found |= {("sparse", float(size)): e for size, e in sparse.inner_errors(k).items()}
        probe, penalty = simplest(found, len(others))
        if sparse is not None and probe == "sparse":
            yield sparse.fit(k, int(penalty))
        else:
            yield probes.fit(k, part, probe, penalty)


def _best_errors(probes: _KernelProbes, sparse: SparseProbe | None, part: slice) -> dict[str, float]:
    """Probe -> squared error over all folds with its best penalty."""
    best: dict[str, float] = {}
    for name, penalty in probes.errors[0]:
        total = float(sum(e[name, penalty][part].sum() for e in probes.errors))
        best[name] = min(best.get(name, total), total)
    if sparse is not None:
        sizes = [sparse.inner_errors(k) for k in range(len(probes.rows))]
        best["sparse"] = min(sum(s[size] for s in sizes) for size in sizes[0])
    return best
