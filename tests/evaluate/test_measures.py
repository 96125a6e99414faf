from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from evaluate.small import Brighten, dataset, encoder
from golden_files import golden
from torch import Tensor

from equissl.augment.base import Identity
from equissl.encoder.encoder import Encoded
from equissl.evaluate.base import Score
from equissl.evaluate.equivariance.measures import (
    absolute_equivariance,
    cosine_distance,
    equivariance_scores,
    ratio_of_means,
    relative_equivariance,
)
from equissl.params import Params, Real, Space


@dataclass
class Oracle:
    """Knows what ``Brighten`` does to ``small.encoder``: every feature moves by glow / 0.25."""

    space: Space = Space((Real("glow", scale=0.1), Real("unheard_of")))
    gain: float = 1.0

    def target(self, target: Encoded) -> Tensor:
        return target.vector

    def predict(self, source: Encoded, change: Params) -> Tensor:
        assert change.space == self.space.relative() and not change.applied["unheard_of"].any()
        return source.vector + self.gain * 4 * change.values["glow"]


def scores(module: Oracle, **options: object) -> dict[tuple[str, str], Score]:
    augmentations = {"glow": Brighten(), "sometimes": Brighten(0.5), "nothing": Identity()}
    result = equivariance_scores(module, encoder(), dataset(), augmentations, **options)  # type: ignore[arg-type]
    return {(s.name.removeprefix("equivariance/"), s.baseline): s for s in result}


@pytest.mark.golden
@pytest.mark.parametrize("path", golden("equimod_measures"), ids=lambda p: p.stem)
def test_golden_measures(path: Path) -> None:
    with np.load(path) as file:
        view, predicted, plain = (torch.from_numpy(file[k]) for k in ("y_view", "y_pred", "y0"))
        triple = view, predicted, plain
        assert float(absolute_equivariance(*triple).mean()) == pytest.approx(
            float(file["absolute_mean"]), abs=1e-12
        )
        assert float(relative_equivariance(*triple).mean()) == pytest.approx(
            float(file["relative_mean"]), abs=1e-11
        )
        cosines = torch.from_numpy(file["cos_view_pred"])
        torch.testing.assert_close(1 - cosine_distance(view, predicted), cosines, atol=1e-12, rtol=0)


def test_the_identity_gains_nothing() -> None:
    view, plain = torch.randn(2, 30, 5, generator=torch.Generator().manual_seed(0))
    view[:3] = plain[:3]  # no distance at all
    assert torch.equal(absolute_equivariance(view, plain, plain), torch.zeros(30, dtype=torch.float64))
    assert torch.equal(relative_equivariance(view, plain, plain), torch.ones(30, dtype=torch.float64))
    assert ratio_of_means(cosine_distance(view, plain), cosine_distance(view, plain)) == 1


def test_measures_of_known_angles() -> None:
    def at(degrees: float) -> Tensor:
        angle = torch.tensor(degrees).double().deg2rad()
        return torch.stack([angle.cos(), angle.sin()])[None] * 7

    triple = at(0), at(60), at(90)  # view, predicted, plain
    assert float(absolute_equivariance(*triple)) == pytest.approx(0.5)
    assert float(relative_equivariance(*triple)) == pytest.approx(2.0)
    before, after = torch.tensor([1.0, 3.0]).double(), torch.tensor([1.0, 0.5]).double()
    assert ratio_of_means(before, after) == pytest.approx(4 / 1.5)


def test_tiny_distances_keep_their_digits() -> None:
    plain = F.normalize(torch.ones(1, 4).double(), dim=1)
    shift = torch.tensor([[1.0, -1.0, 0.0, 0.0]]).double() / 2**0.5
    near, far = plain + 1e-9 * shift, plain + 3e-9 * shift
    # 1 - cos is of order 1e-18, which 1 - 0.999... would round to nothing.
    assert float(relative_equivariance(plain, near, far)) == pytest.approx(9, rel=1e-6)


def test_an_oracle_predicts_and_the_baselines_do_not() -> None:
    result = scores(Oracle())
    assert result["relative/glow", ""].value > 1e6
    assert result["absolute/glow", ""].value > result["absolute/glow", "shuffled"].value > 0
    assert result["relative_of_means/glow", "shuffled"].value < 1e3
    assert result["absolute/glow", "identity"].value == 0
    assert result["relative/glow", "identity"].value == 1
    assert result["relative_of_means/glow", "identity"].value == 1


def test_a_module_deaf_to_parameters_equals_its_shuffled_self() -> None:
    result = scores(Oracle(gain=0.0))
    for kind in ("absolute", "relative", "relative_of_means"):
        values = {result[f"{kind}/glow", b].value for b in ("", "identity", "shuffled")}
        assert len(values) == 1


def test_only_images_that_were_changed_count() -> None:
    result = scores(Oracle(gain=0.5))
    assert result["absolute/glow", ""].count == 50
    assert 10 < result["absolute/sometimes", ""].count < 40
    assert not any("nothing" in name for name, _ in result)
    for score in result.values():
        assert score.low is not None and score.high is not None
        assert score.low <= score.value <= score.high


def test_batches_do_not_matter() -> None:
    index = torch.arange(3, 40)
    whole, parts = (scores(Oracle(gain=0.7), index=index, batch_size=b) for b in (64, 5))
    assert whole == parts and whole["absolute/glow", ""].count == 37
    twice = scores(Oracle(gain=0.7), index=index, num_views=2)
    assert twice["absolute/glow", ""].count == 2 * 37
    assert twice["absolute/glow", ""].value != whole["absolute/glow", ""].value
