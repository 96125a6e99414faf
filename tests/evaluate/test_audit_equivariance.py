"""Equivariance in an audit: from Python and in words."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import equissl
from equissl.data.base import InMemoryDataset
from equissl.encoder.encoder import Encoder
from equissl.evaluate.audit.equivariance import audit_equivariance
from equissl.evaluate.base import Score
from equissl.evaluate.equivariance.fitted_maps import Ratio
from equissl.evaluate.equivariance.linear_maps import to_untrained
from equissl.evaluate.equivariance.words import map_sentences
from equissl.params import Params, Space
from equissl.random import Stream


def test_what_was_audited_is_measured_beside_as_many_untrained_copies() -> None:
    images = Stream.of(torch.arange(50), "x").uniform("x", 3 * 64).view(50, 3, 8, 8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    data = InMemoryDataset(images, Params.of(Space(), {}, count=50), torch.full((50,), -1))
    audited = [
        Score("audit/hue", 0.5, extra={"limit": 50}),
        Score("audit/hue", 0.1, baseline="random", extra={"each": [0.1, 0.1]}),
    ]
    scores = audit_equivariance(Encoder(network, probe=(3, 8, 8)), data, audited)
    kinds = {s.name.partition("/")[0] for s in scores}
    assert kinds == {"map", "moved", "product", "curve"}  # nothing predicts, so nothing composes
    rows = {s.baseline: s for s in scores if s.name == "map/hue_quarter" and s.part == "all"}
    assert set(rows) == {"", "random", "identity", "shift", "constant", "pixels", "statistics"}
    assert len(rows["random"].extra["each"]) == 2 and "verdict" in rows[""].extra  # type: ignore[arg-type]
    assert rows[""].paper and {s.count for s in scores if s.name.startswith("map/")} == {50}
    sentences = map_sentences(scores)
    assert len(sentences) == 11 and sentences[0].startswith("rotate 90: features ")
    assert any("followed by darker" in s and "from much darker" in s for s in sentences)


def test_features_that_do_not_move_are_said_not_to() -> None:
    images = Stream.of(torch.arange(50), "x").uniform("x", 3 * 64).view(50, 3, 8, 8)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    scores = equissl.audit(network, images, factors=("hue",), draws=1, equivariance=True)
    said = {s.partition(":")[0]: s for s in map_sentences(scores)}
    assert said["rotate 90"] == "rotate 90: features do not move"
    assert "leaves 0.00" in said["darker"] and "0.00 [0.00, 0.00] from much darker" in said["darker"]


@pytest.mark.parametrize(("factor", "inside"), [(0.5, False), (1.0, True)])
def test_the_ratio_to_untrained_copies_is_paired(factor: float, inside: bool) -> None:
    """Images that are hard for all do not blur a difference that is the same on each of them."""
    hard = 1 + Stream.of(torch.arange(100), "hard").uniform("h", 1)[:, 0]
    others = [Ratio(0.4, 0.4 * hard), Ratio(0.42, 0.42 * hard)]
    result = to_untrained(Ratio(0.41 * factor, 0.41 * factor * hard), others)
    assert result.value == pytest.approx(factor, abs=0.02) and result.high - result.low < 0.2
    assert (result.low < 1 < result.high) == inside
