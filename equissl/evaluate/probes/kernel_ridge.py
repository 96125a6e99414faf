"""Kernel ridge regression in closed form, for many penalties from one eigendecomposition.

With M = (K + penalty)^-1 and a = M y, the error of the prediction for the images F of a group by a fit on
all others is (M_FF)^-1 a_F.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

PENALTIES = tuple(10.0**k for k in range(3, -6, -1))  # strong to weak, of kernels with a diagonal about 1
INTERCEPT = 1e3  # variance of the constant in each kernel, which the penalty hardly touches
Spectrum = tuple[Tensor, Tensor]


def spectrum(kernel: Tensor) -> Spectrum:
    """Eigenvalues (N,) and eigenvectors (N, N) of a kernel with a constant."""
    values, vectors = torch.linalg.eigh(kernel + INTERCEPT)
    return values.clamp(min=0), vectors


def inverse(of: Spectrum, penalty: float) -> Tensor:
    """(K + penalty)^-1, (N, N)."""
    values, vectors = of
    return (vectors / (values + penalty)) @ vectors.T


def left_out_errors(of: Spectrum, y: Tensor, members: Sequence[Tensor]) -> Tensor:
    """Squared errors of predictions of targets (N, c), each made without the image's group.

    Args:
        members: of ``group_members``.

    Returns:
        (P, N, c), for each of ``PENALTIES``.
    """
    values, vectors = of
    weights = 1 / (values[:, None] + torch.tensor(PENALTIES, dtype=values.dtype))
    projected = weights[:, :, None] * (vectors.T @ y)[:, None]
    dual = (vectors @ projected.flatten(1)).reshape(projected.shape)
    errors = torch.empty_like(dual)
    for rows in members:
        if rows.shape[1] == 1:
            one = rows[:, 0]
            errors[one] = dual[one] / (vectors[one].square() @ weights)[:, :, None]
            continue
        for k, weight in enumerate(weights.T):
            blocks = (vectors[rows] * weight) @ vectors[rows].transpose(1, 2)
            errors[rows, k] = torch.linalg.solve(blocks, dual[rows, k])
    return errors.square().transpose(0, 1)


def errors_by_penalty(
    spectra: Mapping[str, Spectrum], y: Tensor, groups: Tensor
) -> dict[tuple[str, float], Tensor]:
    """Kernel and penalty, from strong to weak -> ``left_out_errors`` (N, c)."""
    members = group_members(groups)
    errors = {name: left_out_errors(of, y, members) for name, of in spectra.items()}
    return {(name, p): errors[name][k] for k, p in enumerate(PENALTIES) for name in spectra}


def simplest(errors: Tensor, count: int) -> Tensor:
    """The first of K probes, from strong to weak penalties, that is not clearly worse than the best.

    Without this allowance, by which errors differ by chance, weak penalties are chosen where there is
    nothing to read.

    Args:
        errors: (K, R), of R weightings.
        count: number of images that they are of.

    Returns:
        (R,) int64.
    """
    return (errors <= errors.amin(0) * (1 + 2 / count)).int().argmax(0)


def group_members(groups: Tensor) -> list[Tensor]:
    """The rows of each group, groups of one size together: (G, size) each."""
    order = groups.argsort(stable=True)
    counts = torch.unique_consecutive(groups[order], return_counts=True)[1]
    starts = counts.cumsum(0) - counts
    sizes = torch.unique(counts).tolist()
    return [order[starts[counts == size][:, None] + torch.arange(size)] for size in sizes]
