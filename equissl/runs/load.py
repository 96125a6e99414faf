"""Load any encoder by name: a run folder, an exported folder, a model of timm, torchvision or the hub."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, get_args

import torch
from safetensors.torch import load_file
from torch import nn

from equissl.config.serialize import from_dict, to_dict
from equissl.config.validation import fits
from equissl.data.base import Data
from equissl.data.files.depth import IntensityRange
from equissl.data.files.pixels import Fit
from equissl.digest import digest
from equissl.encoder.backbone import BackboneConfig
from equissl.encoder.encoder import Encoder
from equissl.encoder.functions import PROGRAM_SUFFIXES
from equissl.encoder.named import INPUT_PREFIXES, describe_inputs, named_config, split_weights
from equissl.encoder.weights import Say, silent
from equissl.errors import UserError
from equissl.model import Model
from equissl.recipe import Recipe
from equissl.runs.changes import check_unedited
from equissl.runs.folder import Run, nearest_run, open_run
from equissl.storage import read_json, read_object
from equissl.training import checkpoint


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder that was exported, or one of timm's.

    Args:
        name: what tables call it.
        encoder: in evaluation mode.
        config: how to build the same architecture again.
        step: optimizer steps behind it, 0 if unknown.
        weights: where its weights come from, in words.
        backbone: the user's own module, if ``config`` does not build it.
        fit: how the images that it was trained on became squares.
        intensity: black and white of those with more than 8 bits.
    """

    name: str
    encoder: Encoder
    config: BackboneConfig
    step: int = 0
    weights: str = ""
    backbone: nn.Module | None = None
    fit: Fit = "crop"
    intensity: IntensityRange = IntensityRange()


@dataclass(frozen=True)
class LoadedRun:
    """A run's model at its last checkpoint.

    Args:
        model: encoder and modules, in evaluation mode.
        recipe: the one the run was started with.
        config: how to build the encoder's architecture again, at the size of images asked for.
        step: optimizer steps behind it.
        backbone: the user's own module, if the run was trained with one that ``config`` does not build.
    """

    run: Run
    model: Model
    recipe: Recipe
    config: BackboneConfig
    step: int
    backbone: nn.Module | None = None

    @property
    def name(self) -> str:
        return self.run.path.name

    @property
    def weights(self) -> str:
        """Where the weights come from, in words."""
        return f"the run's checkpoint of step {self.step}"

    @property
    def encoder(self) -> Encoder:
        return self.model.encoder

    @property
    def fit(self) -> Fit:
        """How the images that it was trained on became squares."""
        return self.recipe.data.fit

    @property
    def intensity(self) -> IntensityRange:
        """Black and white of the images with more than 8 bits that it was trained on."""
        return self.recipe.data.intensity

    @property
    def data(self) -> Data:
        """What the run was trained on, at the encoder's size of images."""
        data: Any = self.recipe.data  # every Data is a dataclass with a field ``size``
        resized: Data = replace(data, size=self.config.size)
        return resized


Loaded = LoadedEncoder | LoadedRun


def inputs_and_weights(loaded: Loaded) -> dict[str, Any]:
    """What output files say of an encoder: where its weights come from, and how images are normalised."""
    config = loaded.config
    facts = {"weights": loaded.weights, "mean": list(config.mean), "std": list(config.std)}
    return {**facts, "size": config.size, "fit": loaded.fit}


def load_encoder(
    name: str,
    *,
    weights: Path | str | None = None,
    size: int = 0,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    seed: int = 0,
    trusted: Sequence[str] = (),
    backbone: nn.Module | None = None,
    say: Say | None = None,
) -> Loaded:
    """The encoder called ``name``.

    Args:
        name: a run folder, an exported folder, ``timm/NAME``, ``timm/NAME@pretrained``,
            ``torchvision/NAME@WEIGHTS`` or ``hf-hub:OWNER/NAME``; ``timm/NAME@FILE`` reads its weights; a
            file ``.onnx``, or ``.pt2`` of torch.export.
        weights: instead of ``@FILE``. Random weights if both are absent.
        size: side of the images; 0 for the model's own.
        mean, std: per channel; the model's own if empty.
        seed: of random weights.
        trusted: packages whose code a run or an export may name.
        backbone: a module like the one a run was trained with, if that was the user's own.
        say: called with lines on what is fetched and loaded; without it, random weights are a warning.

    Raises:
        UserError: nothing is called that; the message says what is possible.
    """
    model, source = split_weights(name)
    if weights is not None and source:
        raise UserError(f"{name!r} names its weights; leave out weights={weights}")
    source = source or (str(weights) if weights is not None else "")
    if model.startswith(INPUT_PREFIXES):
        return _named(model, source, size, mean, std, seed, say)
    if source:
        raise UserError(
            f"weights={source} is for timm/NAME and torchvision/NAME, but {model!r} brings its own"
        )
    folder = Path(model)
    if folder.suffix in PROGRAM_SUFFIXES:
        from equissl.runs.given import load_program  # which needs the classes above

        return load_program(folder, size=size, mean=mean, std=std, trusted=trusted, say=say or silent)
    if (folder / "recipe.json").is_file():
        if mean or std:
            raise UserError(
                f"mean= and std= are not for {model!r}: a run's images are normalised as in training"
            )
        return load_run(open_run(folder), trusted, size, backbone, say or silent)
    if (folder / "config.json").is_file():
        return _exported(folder, size, mean, std, trusted, say or silent)
    if folder.exists():
        raise UserError(f"{name!r} is neither a run folder (recipe.json) nor an exported one (config.json)")
    raise UserError(
        f"no model {name!r}: expected a run folder, an exported folder, FILE.onnx, timm/NAME@pretrained, "
        f"timm/NAME@FILE, torchvision/NAME@WEIGHTS or hf-hub:OWNER/NAME; {nearest_run(folder)}"
    )


def load_encoders(names: Sequence[str], *, weights: Path | str | None = None, **options: Any) -> list[Loaded]:
    """All encoders, loaded and checked one after the other before any is used.

    Args:
        weights: for the one model that names no weights of its own.
        options: of ``load_encoder``.

    Raises:
        UserError: with what is wrong with every one of them.
    """
    takers = [n for n in names if n.startswith(INPUT_PREFIXES) and not split_weights(n)[1]]
    if weights is not None and len(takers) > 1:
        each = ", ".join(f"{n}@FILE" for n in takers)
        raise UserError(
            f"weights={weights} is one file for {len(takers)} models; name a file for each: {each}"
        )
    loaded, problems = [], []
    for name in names:
        own = weights if name in takers or len(names) == 1 else None
        try:
            loaded.append(load_encoder(name, weights=own, **options))
        except UserError as error:
            problems += error.problems
    if weights is not None and not takers and not problems:
        problems.append(f"weights={weights}: every model brings its own weights")
    if problems:
        raise UserError(problems)
    return loaded


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
    say: Say = silent,
) -> LoadedRun:
    """A run's encoder and modules at its last checkpoint.

    Raises:
        UserError: no readable checkpoint, or one that does not fit the recipe.
    """
    recipe = run.read_recipe(trusted)
    state = checkpoint.load(run.checkpoints)
    if backbone is None and read_object(run.path / "environment.json").get("own_backbone"):
        raise UserError(
            f"{run.path} was trained with a module of your own, which recipe.json cannot name: in Python, "
            "pass backbone=... (or train with encoder.name=module:function)"
        )
    check_unedited(run, from_dict(state["recipe"], Recipe, trusted), recipe)
    # The checkpoint holds all weights: those that training began with are not read, let alone fetched.
    blank = replace(recipe, encoder=replace(recipe.encoder, weights=""))
    model = blank.build(recipe.data.spaces, wrap_backbone(recipe.encoder, backbone))
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise UserError(f"the checkpoint in {run.checkpoints} does not fit recipe.json: {error}") from error
    config = replace(recipe.encoder, size=size or recipe.encoder.size)
    say(describe_inputs(str(run.path), config))
    return LoadedRun(run, model.eval(), recipe, config, state["step"], backbone)


def wrap_backbone(config: BackboneConfig, backbone: nn.Module | None) -> Encoder | None:
    """A user's own module as an encoder that normalises as ``config`` says."""
    return None if backbone is None else config.wrap(backbone)


def _named(
    model: str,
    source: str,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    seed: int,
    say: Say | None,
) -> LoadedEncoder:
    """An encoder of timm, torchvision or the hub, with weights from ``source`` or random ones."""
    tell = say or silent
    config, authors = named_config(model, source, size, tuple(mean), tuple(std))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = config.build(tell).eval()
    named = f"{model}@{PurePath(source).name if Path(source).exists() else source}" if source else model
    tell(f"{describe_inputs(named, config)}{authors}")
    if config.weights:
        return LoadedEncoder(named, encoder, config, 0, _words(encoder))
    line = (
        f"{model} has RANDOM weights (seed {seed}); for trained ones write {model}@pretrained or {model}@FILE"
    )
    if say is None:
        warnings.warn(line, stacklevel=3)
    else:
        say(f"warning: {line}")
    return LoadedEncoder(f"{model} (random weights)", encoder, config, 0, f"random, seed {seed}")


def _exported(
    folder: Path, size: int, mean: Sequence[float], std: Sequence[float], trusted: Sequence[str], say: Say
) -> LoadedEncoder:
    path = folder / "config.json"
    stored = read_json(path)
    own = stored.get("equissl") if isinstance(stored, dict) else None
    if not isinstance(own, dict) or "encoder" not in own:
        raise UserError(f"{path} was not written by `equissl export`")
    try:
        config: BackboneConfig = from_dict(own["encoder"], BackboneConfig, trusted)
        stored_range = own.get("intensity", to_dict(IntensityRange()))
        intensity: IntensityRange = from_dict(stored_range, IntensityRange, trusted)
    except UserError as error:
        raise UserError([f"{path}: {p}" for p in error.problems]) from error
    fit = own.get("fit", "crop")
    if not fits(fit, Fit):
        raise UserError(f"{path}: fit must be one of {', '.join(get_args(Fit))}, got {fit!r}")
    step = own.get("step", 0)
    if not fits(step, int):
        raise UserError(f"{path}: step must be an integer, got {step!r}")
    weights = folder / "model.safetensors"
    config = replace(
        config,
        weights=str(weights),
        size=size or config.size,
        mean=tuple(mean) or config.mean,
        std=tuple(std) or config.std,
    )
    encoder = config.build(say)
    if own.get("digest") != digest(dict(sorted(load_file(weights).items()))):
        raise UserError(f"{weights} is damaged or not that of {path} (another digest); export the run again")
    say(describe_inputs(str(folder), config))
    encoder.eval()
    return LoadedEncoder(folder.name, encoder, config, step, _words(encoder), fit=fit, intensity=intensity)


def _words(encoder: Encoder) -> str:
    return encoder.loaded_weights.words if encoder.loaded_weights else ""
