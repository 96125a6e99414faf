"""Objectives as a loss in a training loop of one's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from equissl import SelfSupervisedLoss, augment, equivariance, invariance
from equissl.errors import UserError

POLICY = augment.Pipeline((augment.RandomResizedCrop(16, scale=(0.5, 1.0)), augment.ColorJitter()))
VIEWS = {"plain": augment.Resize(16), "a": POLICY, "b": POLICY}
IMAGES = torch.rand(6, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def loss(given: nn.Module | int | None = None, **changes: Any) -> SelfSupervisedLoss:
    torch.manual_seed(1)
    settings: dict[str, Any] = {
        "views": VIEWS,
        "base": invariance.SimCLR.Config(projector=(16, 8)),
        "modules": {"equimod": equivariance.EquiMod.Config(projector=(16, 8))},
        "size": 24,
        "engine": "torch",
    }
    return SelfSupervisedLoss(network() if given is None else given, **(settings | changes))


def test_each_call_in_training_draws_new_views_and_a_state_goes_on() -> None:
    first = loss()
    values = [first(IMAGES).item() for _ in range(2)]
    assert values[0] != values[1]
    state = first.state_dict()
    third = first(IMAGES).item()
    other = loss()
    other.load_state_dict(state)
    assert other(IMAGES).item() == third
    assert other.eval()(IMAGES) == other(IMAGES)  # the number of calls is that of training


def test_features_made_elsewhere_give_the_same_loss() -> None:
    inside, outside = loss(batch_norm="per_view"), loss(8, batch_norm="per_view")
    outside.load_state_dict(inside.state_dict(), strict=False)  # the network is not in it
    views = outside.make_views(IMAGES, epoch=3)
    made = network()
    features = {name: made(view.images) for name, view in views.items()}
    torch.testing.assert_close(outside.from_features(views, features), inside(IMAGES, epoch=3))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"base": None, "modules": {}}, "base and modules are both empty"),
        ({"views": {"plain": VIEWS["plain"], "a": POLICY}}, "base reads view 'b'"),
        ({"weights": {"equimud": 2.0}}, "did you mean 'equimod'"),
        ({"size": 0}, "size is missing"),
    ],
)
def test_mistakes(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        loss(**changes)


def test_features_of_another_width_or_of_no_view() -> None:
    outside = loss(8)
    views = outside.make_views(IMAGES)
    with pytest.raises(UserError, match=r"those of view 'plain' are \(6, 7\), expected \(B, 8\)"):
        outside.from_features(views, {name: torch.zeros(6, 7) for name in views})
    with pytest.raises(UserError, match="there are none of view 'plain'"):
        outside.from_features(views, {})
    with pytest.raises(UserError, match="call from_features"):
        outside(IMAGES)
