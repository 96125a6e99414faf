"""Targets that cannot be learned are refused before training; those of E-SSL are scored beside chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_train import QUIET, tiny

from equissl.augment import ColorJitter, GaussianNoise, Pipeline, QuarterTurn, RandomResizedCrop, Rotate
from equissl.augment.base import Augmentation
from equissl.config import registry
from equissl.equivariance import (
    ESSL,
    AugSelf,
    FactorClassification,
    FactorDifference,
    FactorRegression,
    ParameterDifference,
)
from equissl.errors import UserError
from equissl.params import Params, Space
from equissl.recipe import Recipe, Weighted, check_targets
from equissl.training.loop import train
from equissl.views import ViewSpec

CROP = RandomResizedCrop(16)


def predicting(target: Any, *steps: Augmentation) -> Recipe:
    """AugSelf with one target on two views of a policy."""
    view = ViewSpec(Pipeline((CROP, *steps)))
    module = AugSelf.Config(targets={"one": target}, hidden=(8,))
    return tiny(views={"a": view, "b": view}, modules={"augself": Weighted(module=module)})


@pytest.mark.parametrize(
    ("target", "step", "factor"),
    [
        (ParameterDifference(("brightness", "hue"), (0.8, 0.2)), ColorJitter(hue=0.0), "hue"),
        (ParameterDifference(("hue",), (0.2,)), ColorJitter(p=0.0), "hue"),
        (FactorDifference(("rotation",)), Rotate(degrees=(30.0, 30.0)), "rotation"),
        (FactorDifference(("rotation",)), Rotate(p=0.0), "rotation"),
    ],
)
def test_a_target_that_never_changes_is_refused(
    target: Any, step: Augmentation, factor: str, tmp_path: Path
) -> None:
    recipe = predicting(target, step)
    with pytest.raises(
        UserError, match=rf"target 'one' is about {factor}, which never changes in the views a, b"
    ):
        train(recipe, tmp_path / "run", QUIET)
    assert not list(tmp_path.iterdir())


def test_a_crop_of_fixed_size_still_moves() -> None:
    from equissl.equivariance import CropDifference

    fixed = RandomResizedCrop(16, scale=(0.25, 0.25), ratio=(1.0, 1.0))
    view = ViewSpec(fixed)
    module = Weighted(module=AugSelf.Config(targets={"one": CropDifference()}, hidden=(8,)))
    check_targets(tiny(views={"a": view, "b": view}, modules={"augself": module}))


def test_a_noise_seed_is_no_target() -> None:
    recipe = predicting(FactorRegression(("noise_seed",)), GaussianNoise())
    with pytest.raises(UserError, match="'noise_seed' is recorded for replays and cannot be a target"):
        recipe.build({"image": Space()})


def test_every_recipe_predicts_what_changes() -> None:
    for entry in registry.recipes():
        check_targets(registry.find_recipe(entry.name)())


def test_essl_logs_its_accuracy_beside_chance(tmp_path: Path) -> None:
    turned = ViewSpec(Pipeline((CROP, QuarterTurn())))
    target = FactorClassification(("quarter_turns",))
    module = ESSL.Config(view="turned", targets={"rotation": target}, hidden=(8,))
    views = {"a": ViewSpec(CROP), "b": ViewSpec(CROP), "turned": turned}
    recipe = tiny(views=views, modules={"essl": Weighted(module=module)}, epochs=1)
    rows = train(recipe, tmp_path / "run", QUIET).log
    row = next(r for r in rows if "essl/rotation_accuracy" in r)
    assert 0 <= row["essl/rotation_accuracy"] <= 1 and 0.25 <= row["essl/rotation_chance"] < 0.6


def test_accuracy_of_a_classification() -> None:
    target = FactorClassification(("quarter_turns",))
    space = QuarterTurn().space
    turns = torch.tensor([[0.0], [1.0], [1.0], [3.0]])
    before = Params.of(space, {"quarter_turns": torch.zeros(4, 1)})
    after = Params.of(space, {"quarter_turns": turns})
    right = torch.nn.functional.one_hot(turns[:, 0].long(), 4).float()
    assert target.accuracy(right, before, after) == (1.0, 0.5)
    assert target.accuracy(right.roll(1, 1), before, after)[0] == 0.0
