"""Laws of SIE's predictors and statistics."""

from __future__ import annotations

import pytest
import torch

from equissl.equivariance.sie import SIE
from equissl.losses.regularization import covariance_loss, variance_loss
from equissl.nn.predictors import Hypernetwork, HypernetworkPredictor
from equissl.params import Circular, Real, Rotation, Space
from equissl.testing.objective import tiny_encoder

SPACES = {
    "pose": Space((Rotation("pose"),)),
    "pose and hue": Space((Rotation("pose"), Circular("hue", period=1.0))),
    "crop": Space((Real("crop_top"), Real("crop_left"))),
}


def made(config: Hypernetwork, space: Space = SPACES["pose"], width: int = 6) -> HypernetworkPredictor:
    torch.manual_seed(0)
    predictor = config.build(width, space.relative().neutral(1).encode()[0])
    assert isinstance(predictor, HypernetworkPredictor)
    return predictor


def test_the_contraction_equals_explicit_matrices() -> None:
    predictor = made(Hypernetwork(init="original"))
    z, e = torch.randn(5, 4), torch.randn(5, 6)
    matrices = torch.einsum("bk,kio->boi", z, predictor.weights[0])
    torch.testing.assert_close(predictor(e, z), torch.einsum("boi,bi->bo", matrices, e))


def test_the_linear_predictor_is_odd_in_the_change() -> None:
    predictor = made(Hypernetwork())
    z, e = torch.randn(5, 4), torch.randn(5, 6)
    torch.testing.assert_close(predictor(e, -z), -predictor(e, z))


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("hidden", [(), (32,)])
def test_no_change_starts_as_the_identity(name: str, hidden: tuple[int, ...]) -> None:
    space = SPACES[name]
    predictor = made(Hypernetwork(bias=True, hidden=hidden), space, 64)
    e = torch.randn(7, 64)
    torch.testing.assert_close(predictor(e, space.relative().neutral(7).encode()), e, atol=1e-5, rtol=1e-5)
    other = predictor(e, torch.randn(7, space.relative().encoded_size))
    assert not torch.allclose(other, e, atol=0.1) and other.norm() < 5 * e.norm()


def test_the_originals_start_is_nine_times_too_long() -> None:
    z = torch.nn.functional.normalize(torch.randn(200, 4), dim=1)
    e = torch.randn(200, 1024)
    long = made(Hypernetwork(init="original"), width=1024)(e, z).norm() / e.norm()
    assert float(long.detach()) == pytest.approx(9.3, abs=0.3)


def test_what_could_only_predict_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"predictor\.bias=true"):
        made(Hypernetwork(), SPACES["crop"])


@pytest.mark.parametrize(("factors", "expected"), [(1, 4_194_304), (3, 6_291_456)])
def test_parameter_counts_are_the_papers(factors: int, expected: int) -> None:
    hues = (Real("floor_hue"), Real("light_hue"))
    predictor = made(Hypernetwork(), Space((Rotation("pose"), *hues)[:factors]), 1024)
    assert sum(p.numel() for p in predictor.parameters()) == expected


def test_the_projectors_parameter_count_is_the_papers() -> None:
    module = SIE.Config(part="all").build(tiny_encoder(width=256), dict.fromkeys("ab", SPACES["pose"]))
    hidden_biases = 2 * 1024  # the original has them before BatchNorm, where they do nothing
    assert sum(p.numel() for p in module.projector.parameters()) + hidden_biases == 2_365_440


def test_statistics_are_those_of_their_definitions() -> None:
    x = torch.randn(9, 5) * torch.tensor([0.1, 0.5, 1.0, 2.0, 3.0])
    hinge = [max(0.0, 1 - (float(x[:, j].var()) + 1e-4) ** 0.5) for j in range(5)]
    assert float(variance_loss(x)) == pytest.approx(sum(hinge) / 5, abs=1e-6)
    covariance = torch.cov(x.T)
    total = sum(float(covariance[i, j]) ** 2 for i in range(5) for j in range(5) if i != j)
    assert float(covariance_loss(x)) == pytest.approx(total / 5, rel=1e-4)


def test_weights_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="variance must be at least 0"):
        SIE.Config(variance=-1)
    with pytest.raises(ValueError, match="nothing is predicted"):
        SIE.Config(equivariance=0)
    with pytest.raises(ValueError, match="record parameters"):
        SIE.Config(part="all").build(tiny_encoder(), {"a": Space(), "b": Space()})
