"""Models that a user holds, in the form of those that are loaded by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from equissl.encoder.encoder import Encoder
from equissl.encoder.functions import FunctionBackbone, open_program
from equissl.encoder.given import GivenConfig, given_encoder
from equissl.encoder.named import describe_inputs
from equissl.encoder.stated import StatedInputs
from equissl.encoder.weights import Say, silent
from equissl.errors import UserError
from equissl.runs.load import Loaded, LoadedEncoder, LoadedRun, load_encoder

Given = nn.Module | Encoder | Callable[[Tensor], Any] | Loaded | Path | str


def load_given(
    model: Given,
    *,
    shape: Sequence[int] = (),
    size: int = 0,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    preprocess: object = None,
    seed: int = 0,
    trusted: Sequence[str] = (),
) -> Loaded:
    """A module, a function, a model by name, or one that was loaded before.

    Args:
        shape: (C, H, W) of images that are not resized.
        size, mean, std, preprocess: of ``encoder.given.given_encoder``, for what was not loaded before.
        seed, trusted: of ``load_encoder``, for names.

    Raises:
        UserError: it cannot be loaded, reads no such images, or brings its own normalisation.
    """
    if isinstance(model, Path | str):
        if preprocess is not None:
            raise UserError(f"preprocess is for modules and functions, but {str(model)!r} states its own")
        return load_encoder(str(model), size=size, mean=mean, std=std, seed=seed, trusted=trusted)
    if isinstance(model, LoadedEncoder | LoadedRun | Encoder):
        if mean or std or preprocess is not None:
            raise UserError("mean, std and preprocess are for modules and functions; an encoder has its own")
        if not isinstance(model, Encoder):
            return model
        mean, std = (tuple(t.flatten().tolist()) for t in (model.mean, model.std))
        name = type(model.backbone).__name__
        config = GivenConfig(name=name, size=size or model.size, mean=mean, std=std)
        return LoadedEncoder(config.name, model, config, weights="as given", backbone=model.backbone)
    if isinstance(model, type) or not callable(model):
        said = "a class; make one: call it" if isinstance(model, type) else f"a {type(model).__name__}"
        raise UserError(f"model: expected a module, a function of images or a name, got {said}")
    encoder, config = given_encoder(
        model, shape=shape, size=size, mean=mean, std=std, preprocess=preprocess, name=_name(model)
    )
    return LoadedEncoder(config.name, encoder, config, weights="as given", backbone=encoder.backbone)


def load_program(
    path: Path,
    *,
    size: int = 0,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    trusted: Sequence[str] = (),
    say: Say = silent,
) -> LoadedEncoder:
    """The encoder in an ONNX file or a ``.pt2`` file of torch.export, whose images stay in [0, 1] by default.

    Raises:
        UserError: it cannot be read, is not trusted, or takes images of another size.
    """
    program = open_program(path, trusted)
    batch, channels, height, width = program.shape
    if height != width or (size and height not in (0, size)):
        raise UserError(
            f"{path} takes images of {height} x {width} px only, not squares of {size or 'one side'}"
        )
    plain = StatedInputs((0.0,) * (channels or 3), (1.0,) * (channels or 3), height)
    encoder, config = given_encoder(
        FunctionBackbone(program.function, batch, program.digest),
        size=size,
        mean=mean,
        std=std,
        name=path.name,
        like=plain,
    )
    say(describe_inputs(str(path), config))
    return LoadedEncoder(path.name, encoder.eval(), config, weights=f"in {path.name}")


def _name(model: object) -> str:
    return str(getattr(model, "__name__", "") or type(model).__name__)
