"""Directions that carry a factor: what is left without them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from equissl.api.subspace import subspace
from equissl.data.base import InMemoryDataset
from equissl.encoder.encoder import Encoder
from equissl.errors import UserError
from equissl.evaluate.audit.subspace import FactorSubspace, erase_factor
from equissl.evaluate.context import EvaluationContext
from equissl.params import Params, Space
from equissl.random import Stream


def normal(count: int, width: int, name: str) -> Tensor:
    return Stream.of(torch.arange(count), name).normal("x", width).double()


def test_the_change_that_is_left_does_not_correlate_with_the_factor() -> None:
    mix = normal(30, 30, "mix")  # columns that correlate
    plain, y = normal(120, 30, "plain") @ mix, normal(120, 2, "y")
    changed = plain + y @ normal(2, 30, "way") + 0.5 * normal(120, 30, "noise") @ mix
    subspace = FactorSubspace.of(plain, changed, y)
    assert subspace.basis.shape == subspace.readers.shape == (30, 2)
    torch.testing.assert_close(subspace.readers.T @ subspace.basis, torch.eye(2, dtype=torch.float64))
    left = (subspace.erased(changed) - subspace.erased(plain)).double()
    covariance = (left - left.mean(0)).T @ (y - y.mean(0))
    full = (changed - plain - (changed - plain).mean(0)).T @ (y - y.mean(0))
    assert covariance.abs().max() < 1e-4 * full.abs().max()
    # Nothing more is taken away than has to be: features move less than by the orthogonal projection.
    q = torch.linalg.qr(full)[0]
    moved = (subspace.erased(plain) - plain).square().sum()
    centred = plain - plain.mean(0)
    assert moved < 10 * (centred @ q).square().sum() and moved > 0


class Split(nn.Module):
    """The mean of each channel beside sixteen pixels of edges: brightness lies in the former."""

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3))
        return torch.cat([means, (x / x.mean((1, 2, 3), keepdim=True))[:, 0, ::2, ::2].flatten(1)], 1)


def test_erasing_brightness_leaves_a_flip() -> None:
    x = Stream.of(torch.arange(160), "x").uniform("x", 3 * 64).view(160, 3, 8, 8) * 0.6
    data = InMemoryDataset(x, Params.of(Space(), {}, count=160), torch.arange(160) % 2, ("a", "b"))
    encoder = Encoder(Split(), mean=(0.0,) * 3, std=(1.0,) * 3, probe=(3, 8, 8))
    context = EvaluationContext(encoder, {"test": data}, {"test": torch.arange(160)})
    subspace, scores = erase_factor(context, "brightness", ("saturation",), draws=1)
    rows = {s.name: s for s in scores}
    assert set(rows) == {"erased/brightness", "erased/saturation", "erased/knn"}
    own = rows["erased/brightness"]
    assert own.extra["linear_before"] > 0.8 and own.extra["linear"] < 0.2  # type: ignore[operator]
    assert subspace.basis.shape[1] == own.extra["directions"] == 1
    assert len(rows["erased/knn"].extra["before"]) == 3  # type: ignore[arg-type]


def test_of_images_and_a_module_as_they_are() -> None:
    x = Stream.of(torch.arange(80), "x").uniform("x", 3 * 64).view(80, 3, 8, 8) * 0.6
    named = {"mean": np.zeros(3), "std": torch.ones(3), "factors": "horizontal_flip"}
    found, (score, other, *_) = subspace(Split(), x, "brightness", **named)  # type: ignore[arg-type]
    assert found.basis.shape[1] == 1 and score.name == "erased/brightness"
    assert other.name == "erased/horizontal_flip"
    with pytest.raises(UserError, match="labels and settings are for a folder"):
        subspace(Split(), x, "brightness", labels="folders")
