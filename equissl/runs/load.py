"""Any encoder by what a person calls it: a run folder, ``timm/NAME``, or an exported folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from equissl.config.serialize import check_trusted, from_dict
from equissl.encoder.backbone import IMAGENET, BackboneConfig, EncoderConfig, load_weights, own_function
from equissl.encoder.encoder import Encoder
from equissl.errors import UserError, nearest
from equissl.model import Model
from equissl.recipe import Recipe
from equissl.runs.folder import Run, open_run
from equissl.storage import read_json
from equissl.training import checkpoint


@dataclass(frozen=True)
class Loaded:
    """An encoder and what is known of it.

    Args:
        name: what to call it in tables.
        config: how to build the same architecture again.
        model: the whole pretrained model, for a run only.
        recipe: of the run.
        step: optimizer steps behind it.
    """

    name: str
    encoder: Encoder
    config: BackboneConfig
    model: Model | None = None
    recipe: Recipe | None = None
    step: int = 0

    def random_twin(self, seed: int = 0) -> Encoder:
        """The same architecture with random weights."""
        with torch.random.fork_rng():
            torch.manual_seed(seed + 1_000_003)
            return replace(self.config, weights="").build()


def load(
    name: str,
    *,
    weights: Path | None = None,
    size: int = 0,
    trusted: Sequence[str] = ("equissl",),
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
    raise UserError(f"no model {name!r}: expected a run folder, an exported folder, or timm/NAME")


def load_run(
    run: Run,
    trusted: Sequence[str] = ("equissl",),
    size: int = 0,
    backbone: nn.Module | None = None,
) -> Loaded:
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
    model = recipe.build(recipe.data.known, wrapped(recipe.encoder, backbone))
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise UserError(f"the checkpoint in {run.checkpoints} does not fit recipe.json: {error}") from error
    config = replace(recipe.encoder, size=size or recipe.encoder.size)
    return Loaded(run.path.name, model.encoder.eval(), config, model.eval(), recipe, state["step"])


def wrapped(config: BackboneConfig, backbone: nn.Module | None) -> Encoder | None:
    """A user's own module as an encoder that normalises as ``config`` says."""
    return None if backbone is None else config.wrap(backbone)


def _timm(name: str, weights: Path | None, size: int) -> Loaded:
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
    return Loaded(shown, config.build().eval(), config)


def _exported(folder: Path, size: int, trusted: Sequence[str]) -> Loaded:
    stored = read_json(folder / "config.json")
    if "equissl" not in stored:
        raise UserError(f"{folder / 'config.json'} was not written by `equissl export`")
    config: BackboneConfig = from_dict(stored["equissl"]["encoder"])
    if name := own_function(config):
        check_trusted(name, trusted)
    config = replace(config, weights="", size=size or config.size)
    encoder = config.build()
    load_weights(encoder.backbone, folder / "model.safetensors")
    return Loaded(folder.name, encoder.eval(), config)
