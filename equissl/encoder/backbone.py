"""Backbones: any timm model by name, a small-image stem for ResNets, or a module of the user's own."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard

import torch
from torch import nn

from equissl.config.registry import call_function, import_function
from equissl.config.validation import MAX_WIDTH, Checked, TrustNeed, check_bounds
from equissl.encoder.encoder import Encoder
from equissl.encoder.published import IMAGENET, check_timm_name
from equissl.encoder.weights import Say, load_weights, silent
from equissl.errors import UserError

Stem = Literal["timm", "small"]
Init = Literal["timm", "torch"]
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261))
STL10 = ((0.43, 0.42, 0.39), (0.27, 0.26, 0.27))


# Options of ``timm.create_model`` itself, which read or fetch files; all others are the model's own.
_FETCHING = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")
_GIVEN = {
    "features_only": "the encoder keeps the last feature map beside the vectors",
    "in_chans": "give one mean and std per channel",
    "model_name": "use name",
    "num_classes": "use width",
}


@dataclass(frozen=True, kw_only=True)
class BackboneConfig(Checked, ABC):
    """What a recipe needs of its encoder, whichever backbone it has.

    Args:
        parts: part name -> width; must add up to the feature width. Empty: only "all".
        mean, std: per channel, subtracted from and divided into images in [0, 1].
        weights: what to start from: a file (safetensors or torch), the folder of a run or an export, or
            published weights: "pretrained" (timm's of this model), "timm/NAME@pretrained",
            "hf-hub:OWNER/NAME", "torchvision/NAME@WEIGHTS". "" for random ones.
        size: side of the images in pixels; needed by models with a fixed input size (ViTs).
        mask_token: learn a token that replaces masked patches (transformers; views with a ``PatchMask``).
    """

    parts: Mapping[str, int] = field(default_factory=dict)
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]
    weights: str = ""
    size: int = 224
    mask_token: bool = False

    def __post_init__(self) -> None:
        check_bounds(self, "size", low=1, high=MAX_WIDTH)
        check_bounds(self, "std", above=0)
        if any(abs(m) > 1 for m in self.mean):
            raise ValueError(
                f"mean={self.mean} and std are for images in [0, 1]; divide those of 0 to 255 by 255"
            )
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError(f"one mean and one std per channel, got {self.mean} and {self.std}")
        for name, width in self.parts.items():
            if not name or not 1 <= width <= MAX_WIDTH:
                raise ValueError(f"parts must be names and widths of at least 1, got {dict(self.parts)}")

    @property
    @abstractmethod
    def title(self) -> str:
        """The backbone in a few words, e.g. "resnet18, small stem"."""

    @property
    def timm_name(self) -> str:
        """The backbone's name in timm, "" if it has none."""
        return ""

    def check(self) -> None:
        """Say that there is no such backbone before any image is read.

        Raises:
            UserError: there is none; it names the nearest.
        """

    @abstractmethod
    def backbone(self) -> nn.Module:
        """A backbone (B, C, H, W) -> (B, D) or (B, D, h, w) with random weights.

        Raises:
            UserError: no such model, or a stem that does not fit.
        """

    def build(self, say: Say = silent) -> Encoder:
        """A fresh encoder; its weights come from torch's global random state unless given.

        Args:
            say: called with a line before weights are fetched, and one on what was loaded.

        Raises:
            UserError: the backbone cannot be built, parts that do not fit, weights that cannot be read.
        """
        backbone = self.backbone()
        report = load_weights(backbone, self.weights, self.timm_name, say) if self.weights else None
        encoder = self.wrap(backbone)
        encoder.loaded_weights = report
        if report is not None:
            say(f"weights: {report}")
            theirs = report.inputs
            if theirs is not None and (theirs.mean, theirs.std) != (tuple(self.mean), tuple(self.std)):
                say(
                    f"warning: {report.source} was trained with mean {theirs.mean} and std {theirs.std}, but "
                    f"images are normalised with mean {self.mean} and std {self.std}"
                )
        return encoder

    def wrap(self, backbone: nn.Module) -> Encoder:
        """A given backbone as an encoder with these parts and this normalisation.

        Raises:
            UserError: parts or a mask token that do not fit the backbone.
        """
        probe = (len(self.mean), self.size, self.size)
        try:
            return Encoder(backbone, self.parts, self.mean, self.std, probe, self.mask_token)
        except ValueError as error:
            raise UserError(f"encoder: {error}") from error


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(BackboneConfig):
    """A timm model by name, or a module of the user's own by its address.

    Args:
        name: a timm model (``equissl list backbones match=resnet*``), or ``module:function`` that returns an
            ``nn.Module`` (B, C, H, W) -> (B, D) or (B, D, h, w).
        stem: "timm" leaves the model as it is; "small" replaces a ResNet's stem by one 3x3 convolution of
            stride 1 without max-pooling, for images of about 32 pixels.
        init: "timm" leaves the weights as the model draws them; "torch" draws those of convolutions anew by
            torch's default, uniform within 1 / sqrt(fan_in) (AugSelf).
        options: passed to the model, e.g. ``{"channels": [32, 64, 128, 256]}``.
        width: columns of the features: a linear layer on every place of the grid and on the pooled vector
            (timm's classifier, and exported as such); 0 for the model's own width.
    """

    name: str = "resnet18"
    stem: Stem = "timm"
    init: Init = "timm"
    options: Mapping[str, Any] = field(default_factory=dict)
    width: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, "width", low=0, high=MAX_WIDTH)
        if ":" in self.name and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", self.name):
            raise ValueError(f"name={self.name!r} is neither a timm model nor module:function")
        if self.width and ":" in self.name:
            raise ValueError(f"width is for timm models, but {self.name!r} is none")
        if self.init == "torch" and ":" in self.name:
            raise ValueError(f"init=torch is for timm models, but {self.name!r} is none")
        if given := [n for n in self.options if n in _GIVEN]:
            raise ValueError(f"options.{given[0]} is set by equissl: {_GIVEN[given[0]]}")

    def needs_trust(self) -> list[TrustNeed]:
        if ":" in self.name:
            package = self.name.partition(":")[0].partition(".")[0]
            return [TrustNeed("name", f"calls code of {package} with encoder.options", package)]
        named = ", ".join(n for n in self.options if n in _FETCHING)
        return [TrustNeed("options", f"makes timm fetch or read files by {named}")] if named else []

    @property
    def title(self) -> str:
        return self.name if self.stem == "timm" else f"{self.name}, {self.stem} stem"

    @property
    def timm_name(self) -> str:
        return "" if ":" in self.name else self.name

    def check(self) -> None:
        if ":" in self.name:
            import_function(self.name, "encoder.name")
            return
        try:
            check_timm_name(self.name)
        except UserError as error:
            raise UserError(f"encoder.name: {error}") from error

    def backbone(self) -> nn.Module:
        return _own(self) if ":" in self.name else _timm(self)


def is_timm(config: BackboneConfig) -> TypeGuard[EncoderConfig]:
    """Whether timm builds the backbone, so that it can be exported for timm.

    >>> is_timm(EncoderConfig(name="resnet18")), is_timm(EncoderConfig(name="my_module:make"))
    (True, False)
    """
    return isinstance(config, EncoderConfig) and ":" not in config.name


def _timm(config: EncoderConfig) -> nn.Module:
    import timm

    config.check()
    try:
        model: nn.Module = timm.create_model(config.name, num_classes=config.width, **model_arguments(config))
    except Exception as error:  # options reach the model's own code, which raises almost any
        given = f"size={config.size}" + (f" and options={dict(config.options)}" if config.options else "")
        raise UserError(f"encoder: timm cannot build {config.name!r} with {given}: {error}") from error
    if config.stem == "small":
        use_small_stem(model, config.name)
    if config.init == "torch":
        for convolution in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
            convolution.reset_parameters()
    return model


def model_arguments(config: EncoderConfig) -> dict[str, Any]:
    """What timm is given besides the name, ``img_size`` only where the model takes it (transformers do)."""
    import timm

    options: dict[str, Any] = {} if len(config.mean) == 3 else {"in_chans": len(config.mean)}
    options |= {k: tuple(v) if isinstance(v, list) else v for k, v in config.options.items()}
    try:
        with torch.device("meta"):  # nothing is allocated
            timm.create_model(config.name, num_classes=0, img_size=config.size, **options)
    except TypeError:
        return options
    return {"img_size": config.size, **options}


def use_small_stem(model: nn.Module, name: str) -> None:
    """Replace a timm ResNet's stem in place: 3x3 convolution, stride 1, padding 1, no max-pooling.

    Raises:
        UserError: the model has no such stem.
    """
    conv, pool = getattr(model, "conv1", None), getattr(model, "maxpool", None)
    if conv is None or pool is None:
        raise UserError(f"encoder.stem=small is for ResNets, but {name!r} is not one; use encoder.stem=timm")
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    width = next(m for m in reversed(list(conv.modules())) if isinstance(m, nn.Conv2d)).out_channels
    small = nn.Conv2d(first.in_channels, width, 3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(small.weight, mode="fan_out", nonlinearity="relu")
    model.conv1, model.maxpool = small, nn.Identity()


def _own(config: EncoderConfig) -> nn.Module:
    make = import_function(config.name, "encoder.name")
    backbone = call_function(make, f"encoder.name={config.name!r}", **config.options)
    if not isinstance(backbone, nn.Module):
        raise UserError(f"encoder.name={config.name!r} returned {type(backbone).__name__}, not an nn.Module")
    return backbone
