"""Load any encoder by name: a run folder, an exported folder, or ``timm/NAME``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from equissl.config.serialize import from_dict
from equissl.config.validation import fits
from equissl.data.base import Data
from equissl.encoder.backbone import IMAGENET, BackboneConfig, EncoderConfig, load_weights
from equissl.encoder.encoder import Encoder
from equissl.errors import UserError, nearest
from equissl.model import Model
from equissl.recipe import Recipe
from equissl.runs.folder import Run, nearest_run, open_run
from equissl.storage import read_json
from equissl.training import checkpoint


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder that was exported, or one of timm's.

    Args:
        name: what tables call it.
        encoder: in evaluation mode.
        config: how to build the same architecture again.
        step: optimizer steps behind it, 0 if unknown.
    """

    name: str
    encoder: Encoder
    config: BackboneConfig
    step: int = 0


@dataclass(frozen=True)
class LoadedRun:
    """A run's model at its last checkpoint.

    Args:
        model: encoder and modules, in evaluation mode.
        recipe: the one the run was started with.
        config: how to build the encoder's architecture again, at the size of images asked for.
        step: optimizer steps behind it.
    """

    run: Run
    model: Model
    recipe: Recipe
    config: BackboneConfig
    step: int

    @property
    def name(self) -> str:
        return self.run.path.name

    @property
    def encoder(self) -> Encoder:
        return self.model.encoder

    @property
    def data(self) -> Data:
        """What the run was trained on, at the encoder's size of images."""
        data: Any = self.recipe.data  # every Data is a dataclass with a field ``size``
        resized: Data = replace(data, size=self.config.size)
        return resized


Loaded = LoadedEncoder | LoadedRun


def random_baseline(config: BackboneConfig, seed: int = 0) -> Encoder:
    """The random-init baseline of an encoder: the same architecture with untrained weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed + 1_000_003)
        return replace(config, weights="").build()


def load_encoder(
    name: str,
    *,
    weights: Path | None = None,
    size: int = 0,
    trusted: Sequence[str] = (),
    backbone: nn.Module | None = None,
) -> Loaded:
    """The encoder called ``name``.

    Args:
        name: a run folder, an exported folder, or ``timm/NAME``.
        weights: a local weight file for ``timm/NAME``; random weights if absent.
        size: side of the images; 0 for the model's own.
        trusted: packages whose code a run or an export may name.
        backbone: a module like the one a run was trained with, if that was the user's own.

    Raises:
        UserError: nothing is called that; the message says what is possible.
    """
    if name.startswith("timm/"):
        return _timm(name, weights, size)
    if weights is not None:
        raise UserError(f"weights={weights} is for timm/NAME models, but {name!r} brings its own")
    folder = Path(name)
    if (folder / "recipe.json").is_file():
        return load_run(open_run(folder), trusted, size, backbone)
    if (folder / "config.json").is_file():
        return _exported(folder, size, trusted)
    if folder.exists():
        raise UserError(f"{name!r} is neither a run folder (recipe.json) nor an exported one (config.json)")
    raise UserError(
        f"no model {name!r}: expected a run folder, an exported folder, or timm/NAME; {nearest_run(folder)}"
    )


def load_backbone(path: Path | str, **options: Any) -> Encoder:
    """The encoder of a run folder or an exported folder: images (B, C, H, W) in [0, 1] -> ``Encoded``.

    Args:
        options: of ``load_encoder``.
    """
    return load_encoder(str(path), **options).encoder


def load_run(
    run: Run,
    trusted: Sequence[str] = (),
    size: int = 0,
    backbone: nn.Module | None = None,
) -> LoadedRun:
    """A run's encoder and modules at its last checkpoint.

    Raises:
        UserError: no readable checkpoint, or one that does not fit the recipe.
    """
    recipe = run.recipe(trusted)
    state = checkpoint.load(run.checkpoints)
    if backbone is None and read_json(run.path / "environment.json").get("own_backbone"):
        raise UserError(
            f"{run.path} was trained with a module of your own, which recipe.json cannot name: in Python, "
            "pass backbone=... (or train with encoder.name=module:function)"
        )
    model = recipe.build(recipe.data.spaces, wrap_backbone(recipe.encoder, backbone))
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise UserError(f"the checkpoint in {run.checkpoints} does not fit recipe.json: {error}") from error
    config = replace(recipe.encoder, size=size or recipe.encoder.size)
    return LoadedRun(run, model.eval(), recipe, config, state["step"])


def wrap_backbone(config: BackboneConfig, backbone: nn.Module | None) -> Encoder | None:
    """A user's own module as an encoder that normalises as ``config`` says."""
    return None if backbone is None else config.wrap(backbone)


def _timm(name: str, weights: Path | None, size: int) -> LoadedEncoder:
    import timm

    short = name.removeprefix("timm/")
    problems = []
    if not timm.is_model(short):
        problems.append(f"timm has no model {short!r}; {nearest(short, timm.list_models())}")
    if weights is not None and not weights.is_file():
        problems.append(f"weights: no file {str(weights)!r}")
    if problems:
        raise UserError(problems)
    default = timm.get_pretrained_cfg(short)
    stated: Mapping[str, Any] = vars(default) if default is not None else {}
    config = EncoderConfig(
        name=short,
        mean=tuple(stated.get("mean", IMAGENET[0])),
        std=tuple(stated.get("std", IMAGENET[1])),
        size=size or int(stated.get("input_size", (3, 224, 224))[-1]),
        weights=str(weights) if weights else "",
    )
    shown = name if weights else f"{name} (random weights)"
    return LoadedEncoder(shown, config.build().eval(), config)


def _exported(folder: Path, size: int, trusted: Sequence[str]) -> LoadedEncoder:
    path = folder / "config.json"
    stored = read_json(path)
    own = stored.get("equissl") if isinstance(stored, dict) else None
    if not isinstance(own, dict) or "encoder" not in own:
        raise UserError(f"{path} was not written by `equissl export`")
    try:
        config: BackboneConfig = from_dict(own["encoder"], BackboneConfig, trusted)
    except UserError as error:
        raise UserError([f"{path}: {p}" for p in error.problems]) from error
    step = own.get("step", 0)
    if not fits(step, int):
        raise UserError(f"{path}: step must be an integer, got {step!r}")
    config = replace(config, weights="", size=size or config.size)
    encoder = config.build()
    load_weights(encoder.backbone, folder / "model.safetensors")
    return LoadedEncoder(folder.name, encoder.eval(), config, step)
