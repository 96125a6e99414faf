"""Every field of every config: a value of another type or out of range is refused, or what is made works."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from objective_cases import BASES, MASKED, MODULES
from torch import nn

import equissl
from equissl.augment import FromTorchvision
from equissl.augment.base import Augmentation
from equissl.cli.main import main
from equissl.config import registry
from equissl.config.overrides import override
from equissl.config.serialize import configs, from_dict, to_dict
from equissl.config.validation import MAX_SEED, Checked
from equissl.data import Cifar100, Flowers102, ImageFolder, ThreeDIEBench
from equissl.data.base import Data
from equissl.data.given_data import GivenImages
from equissl.equivariance import (
    ESSL,
    AugSelf,
    FactorClassification,
    FactorDifference,
    FactorRegression,
)
from equissl.errors import UserError
from equissl.invariance import BYOL, MoCoV3, SimSiam
from equissl.objective import BaseConfig, EquivarianceConfig
from equissl.params import Factor, Space
from equissl.random import Stream
from equissl.recipe import Recipe
from equissl.recipes import equimod
from equissl.study.plan import Bars, Layout, Measure
from equissl.study.stored import PlannedRun
from equissl.testing.objective import (
    masked_views,
    tiny_batch,
    tiny_encoder,
    tiny_transformer,
    tiny_views,
)
from equissl.training.optim import AdamW, OptimizerConfig
from equissl.views import make_views

WRONG = [
    None,
    True,
    "x",
    "",
    (),
    ("x",),
    {},
    {"x": 1},
    AdamW(),
    b"x",
    object(),
    math.nan,
    1.5,
    2**70,
    10**400,
]
EDGES = [0, -1, 1, 2, 3, 2**31, -(2**40), 1e308, -1e308, math.inf, 0.0, 1e-300, 0.999]
TUPLES = [(0,), (-3,), (1, 1), (2**31,), (1.5, "x"), (0.0, 0.0), (1.0, -1.0), ("a", "a"), ("", "b"), (None,)]
VALUES = [*WRONG, *EDGES, *TUPLES, [1, 2], np.int64(2), np.float32(0.5), np.array([0.25, 0.5]), Path("x")]


def classes() -> list[type]:
    """The public configs of the package, without abstract ones."""
    found: list[type] = []
    for module in registry.modules():
        own = [v for v in vars(module).values() if inspect.isclass(v) and v.__module__ == module.__name__]
        inner = [v for c in own for v in vars(c).values() if inspect.isclass(v)]
        found += [c for c in (*own, *inner) if issubclass(c, Checked) and is_dataclass(c)]
    return [c for c in dict.fromkeys(found) if not inspect.isabstract(c) and c.__name__[0] != "_"]


@functools.cache
def instances() -> dict[type, Any]:
    """One small instance of each class: of the tests' cases, its example, its default, or a recipe's."""
    trees: list[Any] = [*BASES.values(), *MODULES.values()]
    for cls in classes():
        for make in (lambda c=cls: c(), lambda c=cls: c.example()):
            try:
                trees.append(make())
            except (TypeError, AttributeError):
                continue
    trees += [e.value() for e in (*registry.recipes(), *registry.studies())]
    trees += [
        ImageFolder("photos"),
        ThreeDIEBench(path="renders"),
        Cifar100("photos"),
        Flowers102("photos"),
        GivenImages(size=16),
    ]
    trees += [cls("name") for cls in classes() if issubclass(cls, Factor)]
    cost = {"views": 2, "images_per_step": 8, "pixels": 2.0}
    trees += [PlannedRun(run="a-seed0", labels={"base": "a"}, seed=0, epochs=1, cost=cost)]
    trees += [Layout(title="study", measures=(Measure("knn/top1", "kNN"),), figure=Bars(groups="base"))]
    parts = [part for tree in trees for part in configs(tree)]
    return {type(part): part for part in reversed(parts)}


def cases() -> Iterator[tuple[type, str]]:
    for cls in classes():
        for field in fields(cls):
            if field.init:
                yield cls, field.name


@pytest.mark.parametrize(
    ("cls", "name"), [pytest.param(*c, id=f"{c[0].__qualname__}.{c[1]}") for c in cases()]
)
def test_a_field_is_checked(cls: type, name: str) -> None:
    made = instances()[cls]
    accepted = []
    for value in VALUES:
        try:
            accepted.append(replace(made, **{name: value}))
        except (UserError, ValueError):
            continue
    for other in dict.fromkeys(map(repr, accepted)):
        check_works(next(a for a in accepted if repr(a) == other))


def check_works(config: Any) -> None:
    """A config that was accepted can be written, read and used, or is refused in words when it is built."""
    if isinstance(config, FromTorchvision):  # holds an object of torchvision, which no recipe can name
        with contextlib.suppress(UserError, ValueError):
            use(config)
        return
    stored = json.loads(json.dumps(to_dict(config), allow_nan=False))
    try:
        read = from_dict(stored, type(config), ("equissl", *packages(config)))
    except UserError as error:
        raise AssertionError(f"{config} is accepted, but not when it is read: {error}") from error
    assert read == config
    with contextlib.suppress(UserError, ValueError, KeyError):
        use(config)


def packages(config: Any) -> set[str]:
    return {type(part).__module__.partition(".")[0] for part in configs(config)}


def use(config: Any) -> None:
    if isinstance(config, BaseConfig | EquivarianceConfig):
        use_objective(config)
    elif isinstance(config, Augmentation):
        images = torch.rand(2, 3, 16, 16)
        params = config.sample(Stream.of(torch.arange(2), 0, "a"), (16, 16))
        assert len(config.apply(images, params)) == 2
    elif isinstance(config, OptimizerConfig):
        layer = nn.Linear(2, 2)
        groups = [{"params": list(layer.parameters()), "matrix": True, "fixed_lr": False}]
        optimizer = config.build(groups)
        layer(torch.ones(1, 2)).sum().backward()
        optimizer.step()


def use_objective(config: BaseConfig | EquivarianceConfig) -> None:
    masked = type(config) in {type(BASES[name]) for name in MASKED}
    encoder, specs = (tiny_transformer(), masked_views()) if masked else (tiny_encoder(), tiny_views())
    module = config.build(encoder, {name: spec.space(Space()) for name, spec in specs.items()})
    views = make_views(tiny_batch(3), specs, seed=0)
    encoded = {n: encoder(v.images) for n, v in views.items()}
    output: Any
    if isinstance(config, BaseConfig):
        output = module(views, encoded).losses
    else:
        output = module(views, encoded, {n: e.vector[:, :4] for n, e in encoded.items()})
    assert output


def test_every_class_has_an_instance() -> None:
    missing = {c.__qualname__ for c in classes()} - {c.__qualname__ for c in instances()}
    assert len(classes()) > 100 and missing <= {
        "FromTorchvision",
        "Prefixed",
        "Slots",
        "CrystalPlan",
        "EvaluationOptions",
    }


def test_numpy_numbers_lists_and_paths_become_plain_data(tmp_path: Path) -> None:
    from equissl.augment import ColorJitter, GaussianBlur, Pipeline, RandomResizedCrop

    crop = RandomResizedCrop(np.int64(8), scale=[np.float32(0.5), 1])  # type: ignore[arg-type]
    blur = GaussianBlur(sigma=np.array([0.1, 2.0]))  # type: ignore[arg-type]
    policy = Pipeline([crop, blur, ColorJitter(p=np.float64(0.5))])  # type: ignore[arg-type]
    assert crop == RandomResizedCrop(8, scale=(0.5, 1)) and type(crop.size) is int
    assert blur.sigma == (0.1, 2.0) and isinstance(policy.steps, tuple)
    assert from_dict(json.loads(json.dumps(to_dict(policy))), Augmentation) == policy
    data = ImageFolder(tmp_path, size=np.uint8(8))  # type: ignore[arg-type]
    assert from_dict(json.loads(json.dumps(to_dict(data))), Data) == data


def test_a_module_without_targets_is_refused() -> None:
    for config in (ESSL.Config, AugSelf.Config):
        with pytest.raises(UserError, match="targets must hold at least one name"):
            config(targets={})
    for target in (FactorDifference, FactorRegression, FactorClassification):
        with pytest.raises(UserError, match="factors must hold at least one name"):
            target(())


@pytest.mark.parametrize("method", [BYOL, SimSiam, MoCoV3])
def test_a_predictor_of_another_width_is_refused_when_it_is_configured(method: Any) -> None:
    with pytest.raises(UserError, match="predictor must end with the projector's width 8, got"):
        method.Config(projector=(24, 8), predictor=(24, 9))


@pytest.mark.parametrize("device", ["cuda:99999999999", "cup", "cuda:x", "cpu:1", "cuda:", "cuda:-1"])
def test_an_absent_device_is_named(device: str) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    with pytest.raises(UserError, match=f"device={device}|device=cuda: this machine has no CUDA device"):
        equissl.audit(network, torch.rand(60, 3, 8, 8), device=device, factors=["brightness"])
    with pytest.raises(UserError, match="device="):
        equissl.EvaluationOptions(device=device)


BASE = registry.find_recipe("equimod.simclr_cifar10")
SETTINGS = [
    ("encoder.mean.2", "x", "encoder.mean.2=x: input should be a valid number"),
    ("encoder.mean.5", "1", "encoder.mean.5: tuple has nothing called '5'"),
    ("encoder.mean.²", "1", "tuple has nothing called '²'"),
    ("encoder.mean", "nan,0,0", "encoder.mean=nan,0,0: "),
    ("encoder.name", ":", "encoder.name=:: name=':' is neither a timm model nor module:function"),
    ("encoder.name", "a:b:c", "is neither a timm model nor module:function"),
    (
        "base",
        "equissl.training:AdamW",
        "base=equissl.training:AdamW: expected a BaseConfig, but that is none",
    ),
    (
        "base",
        "equissl.optimize:AdamW",
        "base=equissl.optimize:AdamW|'equissl.optimize:AdamW' cannot be found",
    ),
    ("base", "5", "base=5: expected the address of a component; valid: equissl.invariance:BYOL.Config, "),
    ("modules.equimod.module.predictor", "ResidualMLP", "did you mean 'equissl.nn:ResidualMLP'"),
    ("optimizer", "AdamW", "valid: equissl.training:Adam, equissl.training:AdamW, "),
    ("base.projector", "[]", "projector must hold at least 1 width, got"),
    ("base.projector", "[-3]", r"projector must be in \[1, 1048576\], got \(-3,\)"),
    ("base.projector", "[0]", r"projector must be in \[1, 1048576\], got \(0,\)"),
    ("base.projector.1", "0", r"projector must be in \[1, 1048576\]"),
    ("base.temperature", "nan", "base.temperature=nan: input should be a finite number"),
    ("seed", str(2**64), "seed="),
    ("seed", str(MAX_SEED + 1), rf"seed={MAX_SEED + 1}: seed must be in \[0, {MAX_SEED}\]"),
    ("seed", "-1", r"seed must be in \[0"),
    ("seed", "9" * 5000, "seed="),
    ("batch_norm", "x", "batch_norm=x: input should be 'all_views', 'per_view' or 'frozen'"),
    ("views", "{}", "views={}: change its parts"),
    ("views.a.augment.steps", "[]", "change its parts"),
    ("views.a.augment.steps.0", "equissl.training:AdamW", "expected a Augmentation"),
    ("modules.equimod.module.predictor", "equissl.nn:DecoderConfig", "expected a Affine or ResidualMLP"),
    ("optimizer.betas", "1", "no setting 'betas' in LARS"),
    ("epochs", "[[[[" * 3000, "epochs="),
]


@pytest.mark.parametrize(("path", "text", "message"), SETTINGS)
def test_a_setting_of_another_type_is_named(path: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        override(BASE(), {path: text})


def test_settings_that_must_agree_are_given_together() -> None:
    widths = {"base.projector": "32,16", "base.predictor": "24,16"}
    for settings in (widths, dict(reversed(widths.items()))):
        changed = override(equimod.byol_cifar10(), settings).base
        assert isinstance(changed, BYOL.Config) and changed.projector == (32, 16)


def test_settings_that_do_not_agree_are_named_together() -> None:
    wrong = {"base.projector": "32,16", "base.predictor": "24,8", "optimizer.lr": "-1", "epochs": "3"}
    with pytest.raises(UserError) as error:
        override(equimod.byol_cifar10(), wrong)
    together, alone = error.value.problems
    assert together.startswith("base.projector=32,16 base.predictor=24,8: predictor must end with")
    assert alone.startswith("optimizer.lr=-1: lr must be in ")


def test_every_setting_that_is_wrong_alone_is_named() -> None:
    with pytest.raises(UserError) as error:
        override(BASE(), {"optimizer.lr": "-1", "optimizer.weight_decay": "-2"})
    assert [p.partition(":")[0] for p in error.value.problems] == [
        "optimizer.lr=-1",
        "optimizer.weight_decay=-2",
    ]


def test_an_optional_component_can_be_removed_and_given() -> None:
    recipe: Recipe = override(BASE(), {"base": "null"})
    assert recipe.base is None
    assert override(recipe, {"base": "equissl.invariance:BYOL.Config"}).base == type(BASES["byol"])()


COMMANDS = [
    (["audit", "timm/test_resnet", ".", "count=0"], "count must be at least 40, got 0"),
    (["audit", "timm/test_resnet", ".", "count=-1"], "count must be at least 40, got -1"),
    (["audit", "timm/test_resnet", ".", f"seed={2**70}"], f"seed must be at most {MAX_SEED}"),
    (["audit", "timm/test_resnet", ".", "size=-1"], "size must be at least 0, got -1"),
    (["pretrain", "recipe=quickstart.invariant", "log_every=0"], "log_every must be at least 1, got 0"),
    (["pretrain", "recipe=quickstart.invariant", "devices=0"], "devices must be at least 1, got 0"),
    (["pretrain", "recipe=:"], "recipe=':' cannot be imported"),
    (["pretrain", "recipe=os:name"], "recipe='os:name' is no function"),
    (["pretrain", "recipe=os:getcwd"], "recipe='os:getcwd' returned str, not a Recipe"),
    (["check", "views=x.html"], "data=DIR is missing"),
    (["check", ".", "views=x.html", "count=0"], "count must be at least 1, got 0"),
    (["evaluate", ".", "limit=5"], "limit=5 is about data=DIR, which is missing"),
    (["study", "grid", "out=x", "seeds=0"], "seeds must be at least 1, got 0"),
    (["render", "solids", "out=x", "objects=0"], "objects must be at least 1, got 0"),
    (["render", "photonics", "kind=blob", "out=x", "count=0"], "count must be in [1, 1000000000], got 0"),
]


@pytest.mark.parametrize(("words", "message"), COMMANDS)
def test_a_number_out_of_range_is_refused_by_every_command(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert message in shown and shown.count(message) == 1
