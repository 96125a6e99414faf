"""Encoders of what a user holds: a module, a function, or a file that another program wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from equissl.encoder.backbone import BackboneConfig
from equissl.encoder.encoder import Encoder
from equissl.encoder.functions import FunctionBackbone
from equissl.encoder.stated import StatedInputs, stated_inputs
from equissl.errors import UserError


@dataclass(frozen=True, kw_only=True)
class GivenConfig(BackboneConfig):
    """Size and normalisation of a backbone that is given as it is, and that nothing can build again.

    Args:
        name: what messages call it.
    """

    name: str = "the module"

    @property
    def title(self) -> str:
        return self.name

    def backbone(self) -> nn.Module:
        raise UserError(f"{self.name} was given as a module, a function or a file, and cannot be built again")


def given_encoder(
    model: nn.Module | Callable[[Tensor], Any],
    *,
    shape: Sequence[int] = (),
    size: int = 0,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    preprocess: object = None,
    name: str = "",
    like: StatedInputs | None = None,
) -> tuple[Encoder, GivenConfig]:
    """An encoder of a module or a function, with the normalisation that it states or that is asked for.

    Where nothing is stated, images stay in [0, 1].

    Args:
        model: (B, C, H, W) -> features; images are normalised before it.
        shape: (C, H, W) of the images, if these are not resized.
        size: side of the images; else that of ``shape``, that which is stated, or 224.
        mean, std: per channel; what is stated if empty.
        preprocess: states them in the place of the model (``stated_inputs``).
        name: what messages call it.
        like: what is stated, instead.

    Raises:
        UserError: it cannot read such images, or its output has several readings.
    """
    stated = like or stated_inputs(model if preprocess is None else preprocess)
    if preprocess is not None and not (stated.mean or stated.size):
        raise UserError(
            f"preprocess={type(preprocess).__name__} states no mean, std or size; expected an image "
            "processor, torchvision's weights.transforms(), or timm's data configuration"
        )
    mean, std = ([float(v) for v in given] for given in (mean, std))  # arrays and tensors too
    if bool(mean) != bool(std):
        raise UserError(f"{'std' if mean else 'mean'} is missing: give both mean= and std=, or neither")
    channels = shape[0] if shape else 3
    mean, std = (tuple(mean), tuple(std)) if mean else (stated.mean, stated.std)
    mean, std = mean or (0.0,) * channels, std or (1.0,) * channels
    side = shape[-1] if shape else size or stated.size or 224
    backbone = model if isinstance(model, nn.Module) else FunctionBackbone(model)
    name = name or type(model).__name__
    try:
        config = GivenConfig(name=name, mean=mean, std=std, size=side)
        height, width = shape[1:] if shape else (side, side)
        return Encoder(backbone, None, mean, std, (len(mean), height, width)), config
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error
