"""E-SSL's recipes and the transformations of its study: what each view shows and what each run is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from equissl.augment import (
    FullOrbit,
    GaussianBlur,
    HorizontalFlip,
    Pipeline,
    QuarterTurns,
    RandomElement,
    RandomResizedCrop,
)
from equissl.augment.presets import essl_imagenet_small
from equissl.equivariance._parameter_targets import FactorClassification
from equissl.equivariance.essl import ESSL
from equissl.errors import UserError
from equissl.recipe import Recipe
from equissl.recipes import essl, transformations
from equissl.recipes.transformations import TRANSFORMATIONS
from equissl.testing.objective import tiny_batch
from equissl.training.optim import LARS, SGD
from equissl.views import ViewSpec, make_views

PAIRS: dict[str, tuple[Callable[[], Recipe], Callable[[], Recipe], float, tuple[int, ...], bool]] = {
    "simclr": (essl.baseline_simclr_cifar10, essl.simclr_cifar10, 0.4, (2048, 2048), True),
    "simsiam": (essl.baseline_simsiam_cifar10, essl.simsiam_cifar10, 0.4, (2048, 2048), False),
    "simclr 224": (essl.baseline_simclr_imagenet, essl.simclr_imagenet, 0.4, (2048, 2048, 128), False),
    "simsiam 224": (essl.baseline_simsiam_imagenet, essl.simsiam_imagenet, 0.08, (2048, 2048, 256), False),
    "barlow twins 224": (
        essl.baseline_barlow_twins_imagenet,
        essl.barlow_twins_imagenet,
        8.0,
        (2048, 2048, 256),
        False,
    ),
}
SMALL = replace(essl.baseline_simclr_cifar10().encoder, name="test_resnet", stem="timm", options={})


def module_of(recipe: Recipe) -> ESSL.Config:
    module = recipe.modules["essl"].module
    assert isinstance(module, ESSL.Config)
    return module


@pytest.mark.parametrize("name", PAIRS)
def test_a_method_is_its_baseline_and_the_module(name: str) -> None:
    make_baseline, make, weight, hidden, last_relu = PAIRS[name]
    baseline, recipe = make_baseline(), make()
    module = module_of(recipe)
    assert (recipe.modules["essl"].weight, module.hidden, module.last_relu) == (weight, hidden, last_relu)
    assert list(recipe.views) == ["a", "b", "small"], "the small view is encoded last, as in the original"
    assert recipe.views["small"].orbit == QuarterTurns() and recipe.batch_norm == "per_view"
    without = {n: v for n, v in recipe.views.items() if n != "small"}
    same = replace(recipe, modules={}, views=without, about=baseline.about, optimizer=baseline.optimizer)
    assert same == baseline
    factor = 2 if "224" not in name else 1
    assert recipe.optimizer == replace(baseline.optimizer, lr=factor * baseline.optimizer.lr)  # type: ignore[type-var]


def test_settings_are_the_released_codes() -> None:
    cifar, imagenet = essl.simclr_cifar10(), essl.simclr_imagenet()
    assert (cifar.epochs, cifar.batch_size, cifar.optimizer) == (800, 512, SGD(lr=0.12, weight_decay=5e-4))
    assert cifar.views["small"].augment.output_size((32, 32)) == (16, 16)
    assert imagenet.views["small"].augment == essl_imagenet_small()
    small = essl_imagenet_small().steps
    assert small[0] == RandomResizedCrop(96, (0.05, 0.14)) and small[-1] == GaussianBlur(23, p=0.1)
    barlow = essl.barlow_twins_imagenet()
    assert isinstance(barlow.optimizer, LARS) and barlow.optimizer.bias_lr == pytest.approx(0.0048 * 16)
    simsiam = essl.simsiam_imagenet()
    per_epoch = [simsiam.schedule.lr_at(s, 0.1, 100, 10) for s in range(20)]
    assert per_epoch[:10] == [0.1] * 10 and len(set(per_epoch[10:])) == 1 and per_epoch[10] < 0.1


@pytest.mark.parametrize("name", ["simclr_cifar10", "simclr_cifar10_single", "simclr_cifar10_relative"])
def test_variants_train(name: str) -> None:
    recipe = replace(getattr(essl, name)(), encoder=SMALL)
    torch.manual_seed(0)
    model = recipe.build({"image": tiny_batch(1).params["image"].space})
    views = make_views(tiny_batch(4), recipe.views, seed=0)
    assert len(views["small"].images) == (4 if "single" in name else 16)
    terms = model(views)
    assert set(terms) == {"base/contrast", "essl/rotation"}
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_every_transformation_in_both_modes(name: str) -> None:
    """What is compared shows it in one mode only; what is asked for has one class per element."""
    baseline = replace(transformations.baseline(), encoder=SMALL)
    batch, known = tiny_batch(400), {"image": tiny_batch(1).params["image"].space}
    factors, order = TRANSFORMATIONS[name].space.names, FullOrbit(TRANSFORMATIONS[name]).order
    invariant = transformations.invariant(baseline, name)
    shown = {n: v.params for n, v in make_views(batch, invariant.views, seed=0).items()}
    assert set(shown) == {"a", "b"} and not invariant.modules
    for params in shown.values():
        share = torch.stack([params.applied[f] for f in factors]).float().mean()
        assert abs(float(share) - 0.5) < 5 * 0.5 / 20
    sensitive = transformations.sensitive(baseline, name)
    assert {n: v for n, v in sensitive.views.items() if n != "small"} == baseline.views
    model = sensitive.build(known)
    views = make_views(tiny_batch(3), sensitive.views, seed=0)
    assert views["small"].images.shape == (3 * order, 3, 16, 16)
    assert model.modules_by_name["essl"].head.layers[-1].out_features == order  # type: ignore[union-attr,index]
    assert all(t.isfinite() for t in model(views).values())


def test_unknown_transformations_are_named() -> None:
    baseline = transformations.baseline()
    for change in (transformations.invariant, transformations.sensitive):
        with pytest.raises(UserError, match=r"no transformation 'jigsaww'; did you mean 'jigsaw'"):
            change(baseline, "jigsaww")
        with pytest.raises(UserError, match=r"views\.a applies horizontal_flip already"):
            change(essl.baseline_simclr_cifar10(), "horizontal_flip")
    plain = replace(baseline, views={n: ViewSpec() for n in baseline.views})
    with pytest.raises(UserError, match=r"views\.a has 0 crops"):
        transformations.sensitive(plain, "rotation")


def test_views_alone() -> None:
    policy: dict[str, Any] = {
        n: ViewSpec(Pipeline((RandomResizedCrop(24), HorizontalFlip()))) for n in ("x", "y")
    }
    views = transformations.sensitive_views(policy, "jigsaw", ("x", "y"))
    assert views["small"].augment == Pipeline((RandomResizedCrop(12), HorizontalFlip()))
    seen = transformations.invariant_views(policy, "jigsaw", ("x", "y"))["y"].augment
    assert isinstance(seen, Pipeline)
    assert seen.steps[-1] == RandomElement(TRANSFORMATIONS["jigsaw"], 0.5)
    recipe = transformations.sensitive(transformations.baseline(), "jigsaw")
    assert module_of(recipe).targets == {"jigsaw": FactorClassification(factors=("jigsaw",))}
