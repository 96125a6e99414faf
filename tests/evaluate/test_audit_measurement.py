"""What the audit's measurement says of features whose content is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equissl.errors import NonFiniteError
from equissl.evaluate.audit.readouts.interval import resample_weights
from equissl.evaluate.audit.readouts.readout import Readout, Views, read_factors
from equissl.evaluate.base import FeatureTable
from equissl.params import Binary, Circular, Params, Real, Space

COUNT = 300


def table(
    vectors: Tensor, factor: Real | Binary | Circular | None = None, values: Tensor | None = None
) -> FeatureTable:
    count = len(vectors)
    params = Space().neutral(count)
    if factor is not None and values is not None:
        params = Params.of(Space((factor,)), {factor.name: values.reshape(count, 1).float()})
    return FeatureTable(
        vectors.float(),
        torch.full((count,), -1),
        params,
        torch.arange(count),
        {"all": slice(0, vectors.shape[1])},
    )


def read(
    plain: Tensor, changed: Tensor, factor: Real | Binary | Circular, values: Tensor, **options: float
) -> Readout:
    weights = resample_weights(torch.arange(len(plain)), 100)
    view = table(changed, factor, values)
    (found,) = read_factors(Views.of(table(plain), [view], [factor.name], **options), weights)  # type: ignore[arg-type]
    return found


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shifted(size: float, width: int = 32, noise: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Features between which the first column moves by ``size`` times a number that is to be read."""
    plain, values = normal(COUNT, width), normal(COUNT, 1, seed=1)
    changed = plain + noise * normal(COUNT, width, seed=2)
    changed[:, :1] += size * values
    return plain, changed, values


@pytest.mark.parametrize(("size", "low", "high"), [(1e-6, -0.1, 0.05), (1e-3, -0.1, 0.1), (1.0, 0.98, 1.0)])
def test_a_change_below_the_precision_is_not_read(size: float, low: float, high: float) -> None:
    plain, changed, values = shifted(size)
    assert low <= read(plain, changed, Real("x"), values).score.value <= high
    if size < 1e-3:  # noise of 1 % of the deviation is what hides it
        assert read(plain, changed, Real("x"), values, precision=0.0).score.value > 0.9


def test_the_amplitude_stands_beside_the_score() -> None:
    plain, changed, values = shifted(0.1, width=4)
    # One of four columns moves by 0.1; two images differ by sqrt(2 * 4).
    assert read(plain, changed, Real("x"), values).amplitude == pytest.approx(0.1 / math.sqrt(8), rel=0.1)


def test_one_unit_among_many_noisy_ones_is_found() -> None:
    plain, changed, values = shifted(1.0, width=512, noise=0.25)
    found = read(plain, changed, Real("x"), values)
    assert found.score.value > 0.88 and found.chosen == "sparse"  # theoretical: 1 / (1 + 0.25^2) = 0.94
    assert found.probes["linear"] < 0.6


def test_what_a_kernel_reads_and_a_linear_map_does_not_is_reported() -> None:
    angle, change = (
        torch.rand(COUNT, 1, generator=torch.Generator().manual_seed(k)) * 2 * math.pi for k in (3, 4)
    )
    mix = normal(2, 32, seed=5)
    plain, changed = (torch.cat([a.cos(), a.sin()], 1).double() @ mix for a in (angle, angle + change))
    found = read(plain, changed, Circular("angle"), change)
    assert found.score.value > 0.97 and found.probes["linear"] < 0.1 and found.probes["kernel"] > 0.97


def test_columns_of_other_scales_do_not_matter() -> None:
    plain, changed, values = shifted(1.0, width=16, noise=0.5)
    alone = read(plain, changed, Real("x"), values).score.value
    loud = normal(COUNT, 1, seed=6) * 1e8
    scaled = [torch.cat([x, loud], 1) for x in (plain, changed)]
    assert read(*scaled, Real("x"), values).score.value == pytest.approx(alone, abs=0.02)  # type: ignore[arg-type]
    constant = [torch.cat([x, torch.full((COUNT, 500), 7.0)], 1) for x in (plain, changed)]
    found = read(*constant, Real("x"), values)  # type: ignore[arg-type]
    assert found.score.value == pytest.approx(alone, abs=0.02)
    assert (found.live, found.width) == (16, 516)


def test_whitening_the_features_does_not_hide_a_change() -> None:
    spectrum = torch.arange(1, 129).double().pow(-1)
    plain = normal(COUNT, 128) * spectrum
    values = normal(COUNT, 1, seed=1)
    changed = plain + 0.02 * values * normal(1, 128, seed=2) + 0.01 * spectrum * normal(COUNT, 128, seed=3)
    scale = plain.std(0)
    raw = read(plain, changed, Real("x"), values).score.value
    assert read(plain / scale, changed / scale, Real("x"), values).score.value == pytest.approx(raw, abs=0.02)


def test_features_that_are_not_finite_are_an_error_that_names_the_image() -> None:
    plain, changed, values = shifted(1.0)
    changed[5, 2] = math.nan
    with pytest.raises(NonFiniteError, match=r"1 of 300 images.*number 5"):
        read(plain, changed, Real("x"), values)


@pytest.mark.parametrize("factor", [Real("x"), Binary("flip"), Circular("angle")])
def test_shuffled_targets_are_not_read(factor: Real | Binary | Circular) -> None:
    plain = normal(COUNT, 24)
    values = torch.rand(COUNT, 1, generator=torch.Generator().manual_seed(9))
    values = (values > 0.5).double() if isinstance(factor, Binary) else values
    changed = plain + values
    found = read(plain, changed, factor, values)
    assert found.score.value > 0.95
    chance = 0.5 if isinstance(factor, Binary) else 0.0
    interval = found.shuffled.interval()
    assert interval.low <= chance + 0.02 and found.shuffled.value < chance + 0.1


def test_constant_features_read_nothing_and_say_so() -> None:
    values = normal(COUNT, 1)
    found = read(torch.ones(COUNT, 3), torch.ones(COUNT, 3), Real("x"), values)
    assert found.live == 0 and -0.05 < found.score.value <= 0.0 and found.amplitude == 0


def test_predictions_stay_within_the_targets() -> None:
    plain, changed, values = shifted(1.0)
    changed[0] = 1e6
    found = read(plain, changed, Real("x"), values)
    assert found.predictions.min() >= values.min() - 1e-5 and found.predictions.max() <= values.max() + 1e-5
