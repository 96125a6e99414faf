"""Encoders of timm, torchvision and the Hugging Face Hub by name, with the weights that the name says."""

from __future__ import annotations

from pathlib import Path

from equissl.encoder.backbone import BackboneConfig, EncoderConfig
from equissl.encoder.published import (
    HUB,
    PRETRAINED,
    TIMM,
    TORCHVISION,
    Inputs,
    check_timm_name,
    find_published,
    timm_inputs,
)
from equissl.encoder.torchvision_backbone import TorchvisionConfig, timm_has
from equissl.errors import UserError

INPUT_PREFIXES = (TIMM, TORCHVISION, HUB)


def split_weights(name: str) -> tuple[str, str]:
    """``MODEL@FILE`` as model and weights; ("", for the second if there are none). An existing path wins.

    Raises:
        UserError: nothing stands after the ``@``.

    >>> split_weights("timm/resnet18@dir/w@1.pt"), split_weights("runs/first")
    (('timm/resnet18', 'dir/w@1.pt'), ('runs/first', ''))
    """
    if Path(name).exists() or "@" not in name:
        return name, ""
    model, _, weights = name.partition("@")
    if not weights:
        raise UserError(f"{name!r} names no weights after the @; leave it out, or write {model}@FILE")
    if name.startswith(HUB) and not Path(weights).exists():
        return name, ""  # a revision of the repository
    return model, weights


def named_config(
    model: str, weights: str, size: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[BackboneConfig, str]:
    """How to build a model of timm, torchvision or the hub.

    Args:
        model: without weights.
        weights: a path, "pretrained", or torchvision's name of them; "" for random ones (hub: its own).
        size, mean, std: of the images; the model's own if 0 or empty.

    Returns:
        the config, and in words what its authors' evaluation does otherwise, or that the normalisation of
        weights in a file is not known.

    Raises:
        UserError: nothing is called that.
    """
    short = model.partition("/")[2]
    options = {}
    if weights and not Path(weights).exists() and not _is_tag(model, weights):
        raise UserError(f"{model}@{weights}: no file {weights!r}; published weights: {model}@pretrained")
    if model.startswith(HUB):
        published = find_published(model)
        short, inputs, options = published.architecture, published.inputs, dict(published.options)
        weights = weights or model
    elif model.startswith(TORCHVISION):
        named = PRETRAINED if not weights or Path(weights).exists() else weights
        published = find_published(f"{model}@{named}")
        inputs = published.inputs
        weights = published.name if weights and not Path(weights).exists() else weights
    elif weights == PRETRAINED and not Path(weights).exists():
        published = find_published(f"{model}@{weights}")
        inputs, weights = published.inputs, published.name
    else:
        inputs = _timm_inputs(short)
    how = ""
    if weights:
        how = _of_file(mean, std) if Path(weights).exists() else _evaluated(inputs)
    common = {
        "mean": mean or inputs.mean,
        "std": std or inputs.std,
        "size": size or inputs.size,
        "weights": weights,
    }
    if model.startswith(TORCHVISION) and not timm_has(short):
        return TorchvisionConfig(name=short, **common), how  # type: ignore[arg-type]
    try:
        config = EncoderConfig(name=short, options=options, **common)  # type: ignore[arg-type]
    except ValueError as error:
        raise UserError(f"{model}: {error}") from error
    if needs := config.needs_trust():  # of a repository's config.json, which anyone can write
        raise UserError(f"{model}: its config.json {needs[0].act}, which is refused")
    return config, how


def describe_inputs(name: str, config: BackboneConfig) -> str:
    """How images are made for the model called ``name``, in one line."""
    if not any(config.mean) and all(x == 1 for x in config.std):
        how = "in [0, 1], not normalised: pass mean= and std= if the network was trained with them"
    else:
        mean, std = (", ".join(f"{x:g}" for x in values) for values in (config.mean, config.std))
        how = f"mean ({mean}), std ({std})"
    return f"images for {name}: {config.size} px, {how}"


def _of_file(mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    if mean and std:
        return ""
    return " (as for the published weights; if the file's were trained otherwise, give mean= and std=)"


def _evaluated(inputs: Inputs) -> str:
    """What is done otherwise by the authors of published weights."""
    if not inputs.interpolation:
        return ""
    how = f"{inputs.interpolation} resizing, crop {inputs.crop:g}, {inputs.size} px"
    return f" (its authors evaluate with {how})"


def _is_tag(model: str, weights: str) -> bool:
    return weights == PRETRAINED or (
        model.startswith(TORCHVISION) and "/" not in weights and "." not in weights
    )


def _timm_inputs(name: str) -> Inputs:
    from timm.models import get_pretrained_cfg

    check_timm_name(name)
    stated = get_pretrained_cfg(name)
    return Inputs() if stated is None else timm_inputs(vars(stated))
