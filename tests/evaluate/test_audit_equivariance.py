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
from equissl.evaluate.equivariance.against_untrained import against_untrained
from equissl.evaluate.equivariance.fitted_maps import Ratio
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


def test_features_that_do_not_move_are_said_not_to() -> None:
    images = Stream.of(torch.arange(50), "x").uniform("x", 3 * 64).view(50, 3, 8, 8)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    scores = equissl.audit(network, images, factors=("hue",), draws=1, equivariance=True)
    moved = {s.name: s for s in scores if s.part == "all" and not s.baseline}
    assert moved["moved/rotate_90"].extra["moves"] is False and "map/rotate_90" not in moved
    assert moved["map/darker"].value < 0.005 and moved["product/darker+darker"].value < 0.005
    assert moved["product/darker+darker"].extra["product"] == "much_darker"
    assert {moved[f"moved/{c}"].extra["factor"] for c in ("darker", "brighter")} == {"brightness"}


@pytest.mark.parametrize(("factor", "word"), [(0.5, "below"), (1.0, "undecided"), (2.0, "above")])
def test_the_ratio_to_untrained_copies_is_paired(factor: float, word: str) -> None:
    """Images that are hard for all do not blur a difference that is the same on each of them."""
    hard = 1 + Stream.of(torch.arange(100), "hard").uniform("h", 1)[:, 0]
    families = [[{"map/x": Ratio(v, v * hard)} for v in of_one] for of_one in ((0.4, 0.42), (0.41, 0.405))]
    found = against_untrained({"map/x": Ratio(0.41 * factor, 0.41 * factor * hard)}, families)["map/x"]
    assert found.ratio.value == pytest.approx(factor, abs=0.03 * factor) and found.word.startswith(word)
    assert found.ratio.high - found.ratio.low < 0.3 * factor


def test_a_network_that_is_one_of_the_untrained_is_neither_below_nor_above() -> None:
    """Their spread counts once more for the network itself, and over 11 changes together."""
    noise = Stream.of(torch.arange(60), "networks").normal("n", 5 * 11).view(60, 5, 11)
    wrong = 0
    for values in (0.5 * (0.2 * noise).exp()).tolist():
        own, *others = (
            {f"map/{k}": Ratio(v, torch.full((20,), v)) for k, v in enumerate(of)} for of in values
        )
        found = against_untrained(own, [others[:2], others[2:]])
        wrong += any(f.word != "undecided" for f in found.values())
    assert wrong <= 6  # 5 % of 60 are 3


def test_its_progress_is_one_line() -> None:
    images = Stream.of(torch.arange(40), "x").uniform("x", 3 * 64).view(40, 3, 8, 8)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    data = InMemoryDataset(images, Params.of(Space(), {}, count=40), torch.full((40,), -1))
    seen: list[tuple[str, int, int]] = []
    audit_equivariance(Encoder(network, probe=(3, 8, 8)), data, [], progress=lambda *a: seen.append(a))
    assert {what for what, _, _ in seen} == {"audit: equivariance"}
    done = [n for _, n, _ in seen]
    assert done == sorted(done) and done[-1] == seen[0][2] == 40 * (12 * 3 + 37)
