"""Thirty training steps of the configurations that were compared with the originals' own loops.

    uv run python tests/trajectories.py

writes their losses to ``trajectories.json``, against which ``test_trajectories.py`` compares. Trunk, weights
and views are made here, in double precision, so that only objectives, heads, optimizers and schedules decide.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from equissl.data.threediebench import ThreeDIEBench
from equissl.encoder.encoder import Encoder
from equissl.equivariance._parameter_targets import CropDifference
from equissl.equivariance.equimod import LegacyLayout
from equissl.model import Model
from equissl.params import Params, Space, euler_quaternion
from equissl.random import Stream
from equissl.recipe import Recipe
from equissl.recipes import augself, equimod, essl, sie
from equissl.training.loop import training_step
from equissl.training.optim import parameter_groups, set_lr
from equissl.training.setup import Learner, OpaqueForward
from equissl.views import View

FILE = Path(__file__).with_name("trajectories.json")
EPOCHS, STEPS_PER_EPOCH, BATCH, SIDE, WIDTH, HEAD = 3, 10, 8, 16, 16, 12
STEPS = EPOCHS * STEPS_PER_EPOCH

# The released constants of EquiMod's 15 (SimCLR) and 18 (BYOL) numbers.
_MEAN = (4.3122, 4.3216, 23.369, 23.374, 0.49998, 0.80087, 1.2025, 1.4007, 1.5964, 1.8004)
_MEAN += (0.99993, 1.0002, 0.99986, 2.2e-7, 0.19965)
_STD = (3.9740, 3.9851, 4.9544, 4.9539, 0.5, 0.3993, 1.1651, 1.0210, 1.0200, 1.1669)
_STD += (0.2066, 0.2068, 0.2066, 0.0517, 0.3997)
_BYOL = (0.27256, 0.52507, 0.050149), (0.30381, 0.65251, 0.064719)


def _legacy(recipe: Recipe, mean: tuple[float, ...], std: tuple[float, ...]) -> Recipe:
    layout = LegacyLayout(len(mean), (32, 32), mean, std)  # type: ignore[arg-type]
    return _changed(recipe, "equimod", layout=layout)


def _changed(recipe: Recipe, name: str, **changes: Any) -> Recipe:
    weighted = recipe.modules[name]
    module = replace(weighted.module, **changes)
    return replace(recipe, modules={**recipe.modules, name: replace(weighted, module=module)})


def _augself() -> Recipe:
    recipe = augself.simclr_stl10()
    targets: Any = recipe.modules["augself"].module
    return _changed(recipe, "augself", targets={**targets.targets, "crop": CropDifference(mirror="first")})


CONFIGURATIONS: Mapping[str, Callable[[], Recipe]] = {
    "equimod.simclr": lambda: _legacy(equimod.simclr_cifar10(), _MEAN, _STD),
    "equimod.byol": lambda: _legacy(equimod.byol_cifar10(), _MEAN + _BYOL[0], _STD + _BYOL[1]),
    "essl.simclr_cifar10": essl.simclr_cifar10,
    "essl.simsiam_cifar10": essl.simsiam_cifar10,
    "essl.simclr_imagenet": essl.simclr_imagenet,
    "essl.simsiam_imagenet": essl.simsiam_imagenet,
    "essl.barlow_twins_imagenet": essl.barlow_twins_imagenet,
    "sie.sie": sie.sie,
    "sie.sie_color": sie.sie_color,
    "sie.sie_without_predictor_variance": sie.sie_without_predictor_variance,
    "sie.simclr": sie.simclr,
    "sie.simclr_augself": sie.simclr_augself,
    "sie.equimod": sie.equimod,
    "sie.equimod_hypernetwork": sie.equimod_hypernetwork,
    "sie.only_equivariance_contrastive": sie.only_equivariance_contrastive,
    "augself.simclr": _augself,
}


@dataclass(frozen=True)
class Setting:
    """A small recipe with its model, in double precision, and the views of each step."""

    recipe: Recipe
    model: Model
    views: list[dict[str, View]]


def setting(name: str) -> Setting:
    """What a configuration begins with, the same on every call."""
    recipe = small(CONFIGURATIONS[name]())
    known = recipe.data.spaces
    config = recipe.encoder
    shape = (len(config.mean), SIDE, SIDE)
    torch.manual_seed(0)
    model = recipe.build(known, Encoder(trunk(), config.parts, config.mean, config.std, shape)).double()
    fill(model)
    return Setting(recipe, model, [views(recipe, step) for step in range(STEPS)])


def small(recipe: Recipe) -> Recipe:
    """The same recipe with narrow heads, three epochs of ten steps, and a warm-up of one at most."""
    parts = {name: WIDTH // len(recipe.encoder.parts) for name in recipe.encoder.parts}
    return replace(
        recipe,
        encoder=replace(recipe.encoder, parts=parts),
        base=narrow(recipe.base),
        modules={n: replace(w, module=narrow(w.module)) for n, w in recipe.modules.items()},
        schedule=replace(recipe.schedule, warmup_epochs=min(1, recipe.schedule.warmup_epochs)),
        epochs=EPOCHS,
        batch_size=BATCH,
    )


def narrow(config: Any) -> Any:
    """A config whose layers, and those of its predictor, have ``HEAD`` columns at most."""
    changes: dict[str, Any] = {}
    for field in fields(config) if is_dataclass(config) else ():
        value = getattr(config, field.name)
        if field.name in ("projector", "predictor", "hidden") and isinstance(value, tuple):
            changes[field.name] = tuple(min(w, HEAD) for w in value)
        elif field.name == "parameter_width":
            changes[field.name] = min(value, HEAD)
        elif field.name == "predictor":
            changes[field.name] = narrow(value)
    return replace(config, **changes) if changes else config


def trunk() -> nn.Module:
    """Two strided convolutions with BatchNorm: (B, 3, 16, 16) -> (B, 16)."""
    blocks = []
    for a, b in ((3, 8), (8, WIDTH)):
        blocks += [nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def fill(model: nn.Module) -> None:
    """Weights from a generator whose numbers never change; copies of a parameter stay copies."""
    generator = np.random.RandomState(0)
    made: dict[tuple[tuple[int, ...], bytes], Tensor] = {}
    with torch.no_grad():
        for parameter in model.parameters():
            key = (tuple(parameter.shape), parameter.detach().numpy().tobytes())
            if key not in made:
                noise = torch.from_numpy(generator.standard_normal(parameter.shape))
                matrix = parameter.dim() > 1
                scale = parameter[0].numel() ** -0.5 if matrix else 0.1
                made[key] = noise * scale + (0 if matrix else parameter)
            parameter.copy_(made[key])


def views(recipe: Recipe, step: int) -> dict[str, View]:
    """Noise images with the parameters that the recipe's policies draw, in double precision."""
    generator = np.random.RandomState(1000 + step)
    index = torch.arange(BATCH) + step * BATCH
    found = {}
    for name, spec in recipe.views.items():
        images = torch.from_numpy(generator.uniform(size=(BATCH, 3, SIDE, SIDE)))
        stream = Stream.of(index, "trajectory", name)
        params = double(labelled(recipe, generator) | spec.augment.sample(stream, (32, 32)))
        if spec.orbit is not None:
            images, params = spec.orbit.expand(images, params)
        found[name] = View(images, params)
    return found


def labelled(recipe: Recipe, generator: np.random.RandomState) -> Params:
    """The factors of 3DIEBench for recipes on it, as the dataset samples them."""
    if not isinstance(recipe.data, ThreeDIEBench):
        return Params.of(Space(), {}, count=BATCH)
    angles = torch.from_numpy(generator.uniform(-np.pi / 2, np.pi / 2, (BATCH, 3)))
    rest = torch.from_numpy(generator.uniform(size=(BATCH, 4)))
    space = recipe.data.space
    values = dict(zip(space.names[1:], torch.split(rest, 1, 1), strict=True))
    return Params.of(space, {space.names[0]: euler_quaternion(angles), **values})


def double(params: Params) -> Params:
    """The same values in double precision."""
    return replace(params, values={n: v.double() for n, v in params.values.items()})


def train(given: Setting) -> list[float]:
    """The loss of every step, by the package's own training step."""
    recipe, model = given.recipe, given.model
    fabric = Fabric(accelerator="cpu", devices=1, precision="64-true")
    optimizer = recipe.optimizer.build(parameter_groups(model, model.fixed_lr))
    # Not set up by Fabric, which would round the losses to single precision.
    learner = Learner(fabric, model, OpaqueForward(model), optimizer)
    losses = []
    for step, batch in enumerate(given.views):
        lr = recipe.schedule.lr_at(step, recipe.optimizer.lr, STEPS, STEPS_PER_EPOCH)
        set_lr(optimizer, lr, recipe.optimizer.lr)
        terms = training_step(learner, batch, (step + 1) / STEPS, recipe.clip_gradient)
        losses.append(float(terms["loss"]))
    return losses


def main() -> None:
    torch.set_num_threads(1)
    found = {name: train(setting(name)) for name in CONFIGURATIONS}
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
