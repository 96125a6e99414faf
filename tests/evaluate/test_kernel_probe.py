"""The kernel probe that is fitted on some images and predicts others."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.evaluate.metrics import r2
from equissl.evaluate.probes.kernel_probe import kernel_probe
from equissl.evaluate.probes.kernel_ridge import (
    INTERCEPT,
    PENALTIES,
    group_members,
    left_out_errors,
    spectrum,
)
from equissl.evaluate.probes.pair_kernels import PairFeatures, pair_kernels
from equissl.random import Stream


def noise(count: int, width: int, name: str) -> Tensor:
    return Stream.of(torch.arange(count), name).normal("x", width).double()


def test_errors_without_a_group_equal_fits_without_it() -> None:
    x, y = noise(24, 5, "x"), noise(24, 2, "y")
    groups = torch.tensor([0, 0, 1, 2, 2, 2, 3, 4] * 3) + torch.arange(3).repeat_interleave(8) * 5
    kernel = x @ x.T + INTERCEPT
    members = group_members(groups)
    assert torch.equal(torch.cat([m.flatten() for m in members]).sort().values, torch.arange(24))
    found = left_out_errors(spectrum(x @ x.T), y, members)[PENALTIES.index(0.1)].sum(0)
    expected = torch.zeros(2, dtype=torch.float64)
    for group in torch.unique(groups):
        fit, out = groups != group, groups == group
        dual = torch.linalg.solve(kernel[fit][:, fit] + 0.1 * torch.eye(int(fit.sum())), y[fit])
        expected += (y[out] - kernel[out][:, fit] @ dual).square().sum(0)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_an_outlier_does_not_ruin_the_rest() -> None:
    """Untrained networks yield features far out; one must not decide R2."""
    change, before = noise(300, 1, "change"), noise(300, 30, "before")
    after = before + change @ noise(1, 30, "way")
    after[250] += 30
    kernels, _ = pair_kernels(PairFeatures.of(before, after))
    fit, held_out = torch.arange(200), torch.arange(200, 300)
    ((_, result),) = kernel_probe(kernels, [change[fit]], torch.arange(300), fit, held_out)
    assert result.predictions[50].abs() <= change[fit].abs().max()  # predictions end where targets do
    rest = torch.arange(100) != 50
    assert r2(result.predictions[rest], change[held_out][rest]) > 0.9
