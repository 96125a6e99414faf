"""AugSelf's recipes: where BatchNorm takes its statistics, how the lr moves, how convolutions start."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from equissl.encoder.backbone import EncoderConfig
from equissl.invariance.simclr import SimCLR
from equissl.recipe import Recipe
from equissl.recipes import augself

RECIPES = [
    augself.baseline_simclr_stl10,
    augself.simclr_stl10,
    augself.baseline_simclr_imagenet100,
    augself.simclr_imagenet100,
]


@pytest.mark.parametrize("make", RECIPES, ids=lambda r: r.__name__)
def test_batch_norm_sees_one_view_and_the_lr_moves_by_the_epoch(make: Callable[[], Recipe]) -> None:
    recipe = make()
    assert isinstance(recipe.base, SimCLR.Config)
    assert recipe.batch_norm == recipe.base.batch_norm == "per_view"
    lrs = [recipe.schedule.lr_at(step, 1.0, 20, 10) for step in range(20)]
    assert lrs == [1.0] * 10 + [0.5] * 10


@pytest.mark.parametrize(("name", "stem"), [("resnet18", "timm"), ("resnet18", "small")])
def test_convolutions_start_as_torch_draws_them(name: str, stem: str) -> None:
    """Uniform within 1 / sqrt(fan_in); timm's are normal with variance 2 / fan_out."""
    torch.manual_seed(0)
    drawn = EncoderConfig(name=name, init="torch", stem=stem, size=32).backbone()  # type: ignore[arg-type]
    convolutions = [m for m in drawn.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 20
    for layer in convolutions:
        bound = layer.weight[0].numel() ** -0.5
        assert 0.9 * bound < float(layer.weight.detach().abs().max()) <= bound
    last = [m.weight for name, m in drawn.named_modules() if name.endswith("bn2")]
    assert last and not any(bool(weight.any()) for weight in last), "residual branches still start at zero"


def test_a_module_of_ones_own_starts_as_it_likes() -> None:
    with pytest.raises(ValueError, match="init=torch is for timm models"):
        EncoderConfig(name="torch.nn:Identity", init="torch")
