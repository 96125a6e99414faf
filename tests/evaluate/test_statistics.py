from __future__ import annotations

import math

import pytest
import torch

from equissl.evaluate.statistics import bootstrap, estimate, jackknife, proportion


def test_wilson_matches_scipy() -> None:
    from scipy.stats import binomtest

    for hits, count in ((0, 7), (7, 7), (3, 20), (911, 1000)):
        correct = torch.arange(count) < hits
        result = proportion(correct, torch.arange(count))
        expected = binomtest(hits, count).proportion_ci(method="wilson")
        assert result.value == pytest.approx(hits / count)
        assert (result.low, result.high) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_bootstrap_of_a_mean_has_the_known_width() -> None:
    x = torch.randn(400, generator=torch.Generator().manual_seed(0)).double()
    low, high = bootstrap(lambda rows: float(x[rows].mean()), torch.arange(400), num_resamples=2000)
    assert high - low == pytest.approx(2 * 1.96 * float(x.std()) / 20, rel=0.1)


def test_resamples_without_a_value_are_left_out_if_they_are_few() -> None:
    def statistic(rows: torch.Tensor) -> float:  # R2 has none where all images of a resample are one
        return float("nan") if len(rows.unique()) == 1 else float(rows.double().mean())

    low, high = bootstrap(statistic, torch.arange(4))
    assert 0 < low < 1.5 < high < 3
    low, high = bootstrap(statistic, torch.arange(2))
    assert math.isnan(low) and math.isnan(high)


def test_bootstrap_draws_whole_groups() -> None:
    groups = torch.tensor([4, 1, 4, 1, 9, 4])
    seen: list[list[int]] = []

    def statistic(rows: torch.Tensor) -> float:
        seen.append(torch.bincount(rows, minlength=6).tolist())
        return 0.0

    bootstrap(statistic, groups, num_resamples=50)
    for counts in seen:
        assert counts[0] == counts[2] == counts[5] and counts[1] == counts[3]
        assert counts[0] + counts[1] + counts[4] == 3  # as many groups as there are


def test_copies_of_an_image_do_not_narrow_the_interval() -> None:
    x = (torch.arange(40) % 3 == 0).repeat_interleave(10)
    own, shared = proportion(x, torch.arange(400)), proportion(x, torch.arange(400) // 10)
    assert shared.value == own.value
    assert shared.high - shared.low > 2 * (own.high - own.low)


def test_estimate_holds_a_value_that_resampling_never_reaches() -> None:
    different = estimate(lambda rows: float(len(torch.unique(rows))), torch.arange(30))
    assert different.low < different.value == different.high == 30


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    x = torch.randn(200, generator=torch.Generator().manual_seed(0)).double()
    result = jackknife(lambda rows: float(x[rows].mean()), torch.arange(200), folds=200)
    assert result is not None
    expected = 1.959964 * float(x.std()) / 200**0.5
    assert result.high - result.value == pytest.approx(expected, rel=1e-6)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    again = jackknife(lambda rows: float(x[order][rows].mean()), order, folds=10)
    ten = jackknife(lambda rows: float(x[rows].mean()), torch.arange(200), folds=10)
    assert again is not None and ten is not None and again.high == pytest.approx(ten.high)
    assert jackknife(lambda rows: 1.0, torch.tensor([0, 0, 1, 2])) is None
