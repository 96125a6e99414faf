"""A kernel probe that is fitted on some images and predicts others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from equissl.evaluate.probes.base import ProbeResult
from equissl.evaluate.probes.kernel_ridge import (
    INTERCEPT,
    errors_by_penalty,
    inverse,
    simplest,
    spectrum,
)


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
    spectra = {n: spectrum(k[fit][:, fit]) for n, k in kernels.items()}
    errors = errors_by_penalty(spectra, joined - mean, groups[fit])
    found, start = [], 0
    for target in targets:
        part = slice(start, start := start + target.shape[1])
        totals = torch.stack([e[:, part].sum() for e in errors.values()])
        name, penalty = list(errors)[int(simplest(totals, len(fit)))]
        dual = inverse(spectra[name], penalty) @ (joined - mean)[:, part]
        predictions = (kernels[name][held_out][:, fit] + INTERCEPT) @ dual + mean[part]
        low, high = joined[:, part].amin(0), joined[:, part].amax(0)
        found.append((name, ProbeResult(predictions.clamp(low, high), penalty)))
    return found
