"""A kernel probe that is fitted on some images and predicts others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from equissl.evaluate.probes.base import ProbeResult
from equissl.evaluate.probes.cross_fit import simplest
from equissl.evaluate.probes.kernel_ridge import INTERCEPT, PENALTIES, spectrum


def kernel_probe(
    kernels: Mapping[str, Tensor],
    targets: Sequence[Tensor],
    groups: Tensor,
    fit: Tensor,
    held_out: Tensor,
) -> list[tuple[str, ProbeResult]]:
    """Kernel ridge regression of several targets; kernel and penalty by leave-one-group-out within ``fit``.

    As ``cross_fit`` with two folds, of which only the second is predicted. For each target the name of the
    kernel, and predictions (m, c) that end where the targets do.

    Args:
        kernels: name -> (N, N) float64, positive semi-definite, with a diagonal of about 1.
        targets: (n, c) each, of the images ``fit``.
        groups: (N,) int64.
        fit, held_out: (n,) and (m,) int64 rows.
    """
    joined = torch.cat([t.double() for t in targets], 1)
    mean = joined.mean(0)
    members = _members(groups[fit])
    spectra = {n: spectrum(k[fit][:, fit]) for n, k in kernels.items()}
    errors = {
        (name, penalty): _left_out_errors(of, penalty, joined - mean, members)
        for penalty in PENALTIES
        for name, of in spectra.items()
    }
    found, start = [], 0
    for target in targets:
        part = slice(start, start := start + target.shape[1])
        name, penalty = simplest({key: float(e[part].sum()) for key, e in errors.items()}, len(fit))
        dual = _dual(spectra[name], penalty, (joined - mean)[:, part])
        predictions = (kernels[name][held_out][:, fit] + INTERCEPT) @ dual + mean[part]
        low, high = joined[:, part].amin(0), joined[:, part].amax(0)
        found.append((name, ProbeResult(predictions.clamp(low, high), penalty)))
    return found


def _dual(of: tuple[Tensor, Tensor], penalty: float, y: Tensor) -> Tensor:
    """(K + penalty)^-1 y of a kernel with these eigenvalues and eigenvectors."""
    values, vectors = of
    dual: Tensor = vectors @ ((vectors.T @ y) / (values.clamp(min=0) + penalty)[:, None])
    return dual


def _left_out_errors(
    of: tuple[Tensor, Tensor], penalty: float, y: Tensor, members: Sequence[Tensor]
) -> Tensor:
    """Squared errors (c,) of predictions that were made without the image's group (``cross_fit``)."""
    values, vectors = of
    dual, weights = _dual(of, penalty, y), 1 / (values.clamp(min=0) + penalty)
    total = torch.zeros(y.shape[1], dtype=torch.float64)
    for rows in members:
        blocks = (vectors[rows] * weights) @ vectors[rows].transpose(1, 2)
        total += torch.linalg.solve(blocks, dual[rows]).square().sum((0, 1))
    return total


def _members(groups: Tensor) -> list[Tensor]:
    """The rows of each group, groups of one size together: (G, size) each."""
    order = groups.argsort(stable=True)
    counts = torch.unique_consecutive(groups[order], return_counts=True)[1]
    starts = counts.cumsum(0) - counts
    sizes = torch.unique(counts).tolist()
    return [order[starts[counts == size][:, None] + torch.arange(size)] for size in sizes]
