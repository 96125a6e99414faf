from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equissl.evaluate.probes.cross_fit import cross_fit, fold_numbers
from equissl.evaluate.probes.kernel_ridge import (
    INTERCEPT,
    PENALTIES,
    group_members,
    left_out_errors,
    spectrum,
)


def data(count: int = 60, width: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, width, generator=generator, dtype=torch.float64)
    y = x[:, :2] + 0.5 * torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return x, y


def ridge(
    kernel: Tensor, y: Tensor, fit: Tensor, held: Tensor, penalty: float, weights: Tensor | None = None
) -> Tensor:
    """Kernel ridge regression written out, with the constant in the kernel; weights count images."""
    k = kernel + INTERCEPT
    w = torch.ones(len(fit), dtype=torch.float64) if weights is None else weights
    some = w > 0
    fit, w = fit[some], w[some]
    dual = torch.linalg.solve(k[fit][:, fit] + torch.diag(penalty / w), y[fit])
    return k[held][:, fit] @ dual


@pytest.mark.parametrize("grouped", [False, True])
def test_folds_and_leave_one_group_out_equal_fits_written_out(grouped: bool) -> None:
    x, y = data()
    kernel = x @ x.T / x.shape[1]
    groups = torch.arange(60) // 3 if grouped else torch.arange(60)
    folds = fold_numbers(groups, 5, 0)
    y = y - y.mean(0)
    others = [(folds != k).nonzero()[:, 0] for k in range(5)]
    for fit in others:
        all_errors = left_out_errors(spectrum(kernel[fit][:, fit]), y[fit], group_members(groups[fit]))
        errors = all_errors[PENALTIES.index(0.1)].sum(0)
        wanted = torch.zeros(2, dtype=torch.float64)
        for group in torch.unique(groups[fit]):
            inner, out = fit[groups[fit] != group], fit[groups[fit] == group]
            wanted += (y[out] - ridge(kernel, y, inner, out, 0.1)).square().sum(0)
        torch.testing.assert_close(errors, wanted, rtol=1e-6, atol=1e-8)
    (found,) = cross_fit({"linear": kernel}, None, [y], groups, folds)
    for fold in found.folds:
        assert fold.penalty in PENALTIES
        wanted = ridge(kernel, y, fold.fit, fold.held_out, fold.penalty)
        torch.testing.assert_close(fold.predictions, wanted, rtol=1e-6, atol=1e-7)
        assert not set(groups[fold.fit].tolist()) & set(groups[fold.held_out].tolist())


@pytest.mark.parametrize("weight", [0.0, 2.0, 3.0])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_weight_of_one_image_changes_predictions_as_a_new_fit_does(weight: float, sparse: bool) -> None:
    x, y = data()
    kernel = torch.zeros(60, 60, dtype=torch.float64) if sparse else x @ x.T / x.shape[1]
    (found,) = cross_fit(
        {"linear": kernel}, x if sparse else None, [y], torch.arange(60), fold_numbers(torch.arange(60), 5)
    )
    fold = found.folds[0]
    image = fold.fit[7]
    weights = torch.ones(60, 1, dtype=torch.float64)
    weights[image] = weight
    moved = fold.reweighted(weights)[0]
    if sparse:
        assert fold.probe == "sparse" and not torch.allclose(moved, fold.predictions, atol=1e-6)
        return
    mean = y.mean(0)
    wanted = ridge(kernel, y - mean, fold.fit, fold.held_out, fold.penalty, weights[fold.fit, 0]) + mean
    torch.testing.assert_close(moved, wanted, rtol=1e-6, atol=1e-7)


def test_images_of_one_group_share_a_fold_and_folds_are_even() -> None:
    groups = torch.arange(100) // 4
    folds = fold_numbers(groups, 5, 3)
    assert all(len(torch.unique(folds[groups == g])) == 1 for g in range(25))
    assert torch.bincount(folds).tolist() == [20] * 5
    assert not torch.equal(folds, fold_numbers(groups, 5, 4))


def test_noise_is_predicted_by_hardly_more_than_the_mean() -> None:
    scores = []
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(100, 200, generator=generator, dtype=torch.float64)
        y = torch.randn(100, 1, generator=generator, dtype=torch.float64)
        folds = fold_numbers(torch.arange(100), 5, seed)
        (found,) = cross_fit({"linear": x @ x.T / 200}, x, [y], torch.arange(100), folds)
        scores.append(1 - (found.predictions() - y).square().sum() / (y - y.mean()).square().sum())
    assert -0.06 < float(torch.stack(scores).mean()) < 0.0


def test_resamples_choose_their_own_probe() -> None:
    """A second kernel that holds the targets of some images is chosen where only these count."""
    _, y = data()
    odd = torch.arange(60) % 2 == 1
    held = torch.where(odd[:, None], y, torch.zeros_like(y))
    kernels = {"noise": torch.eye(60, dtype=torch.float64), "some": held @ held.T}
    (found,) = cross_fit(kernels, None, [y], torch.arange(60), fold_numbers(torch.arange(60), 5))
    weights = torch.stack([odd.double() * 50, (~odd).double() * 50], 1)
    for fold, candidates in zip(found.folds, found.candidates, strict=True):
        first, second = (candidates.fit(int(k)) for k in candidates.chosen(weights))
        assert first.probe == "some" and first.penalty < second.penalty
        once = torch.ones(60, 1, dtype=torch.float64)
        torch.testing.assert_close(candidates.reweighted(once)[0], fold.predictions)
        alone = torch.stack([first.reweighted(weights)[0], second.reweighted(weights)[1]])
        torch.testing.assert_close(candidates.reweighted(weights), alone)
