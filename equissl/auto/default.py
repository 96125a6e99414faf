"""The recipe used when none is named: SimCLR + AugSelf, sized for the images and the machine."""

from __future__ import annotations

from pathlib import Path

import torch

from equissl.augment import presets
from equissl.data.files.summary import summarise
from equissl.data.image_folder import ImageFolder
from equissl.encoder.backbone import EncoderConfig
from equissl.equivariance._parameter_targets import (
    AnyParameterTarget,
    CropDifference,
    ParameterDifference,
    SameValue,
)
from equissl.equivariance.augself import AugSelf
from equissl.invariance.simclr import SimCLR
from equissl.recipe import Recipe, Weighted
from equissl.training.optim import AdamW, WarmupCosine
from equissl.views import ViewSpec

_STRENGTH = 0.5
_JITTER = ("brightness", "contrast", "saturation", "hue")
_JITTER_RANGES = tuple(2 * s * _STRENGTH for s in (0.8, 0.8, 0.8, 0.2))  # maximum - minimum
_SMALL_RESNET = {"channels": (32, 64, 128, 256), "stem_width": 16}
FEW_IMAGES = 1_000
_SUMMARY_SAMPLE = 256


def default_recipe() -> Recipe:
    """SimCLR + AugSelf for images of 224 pixels; crop, flip and colour stay readable.

    >>> default_recipe().encoder.name
    'resnet50'
    """
    return simclr_augself(224, EncoderConfig(name="resnet50", size=224), epochs=200, batch_size=256)


def choose_recipe(folder: Path) -> tuple[Recipe, list[str]]:
    """A recipe for the images in a folder, and the reasons, one per line.

    The method is SimCLR + AugSelf: it costs no third view, and in an independent comparison on ImageNet-100
    its mean over eleven transfer tasks was above SimCLR's (63.1 against 60.4; numbers of arXiv:2501.08712).

    Raises:
        UserError: the folder holds no images.
    """
    summary = summarise(str(folder), sample=_SUMMARY_SAMPLE, compare=0)
    side, count = summary.sides[2] if summary.sides else 0.0, summary.images
    cuda = torch.cuda.is_available()
    encoder, encoder_reason = _encoder(side, cuda)
    batch_size = min(256 if cuda else 128, 2 ** max(1, (count // 2).bit_length() - 1))
    epochs = max(100 if cuda else 20, min(400, (4_000_000 if cuda else 400_000) // max(count, 1)))
    reasons = [
        f"{count:,} images, median shorter side {side:.0f} px: {encoder_reason}",
        "method: SimCLR + AugSelf (predicts crop, flip and colour, so that features keep them; equissl audit "
        "says how well)",
        "choose otherwise with recipe=... (equissl list recipes) or any path.to.field=value",
    ]
    if count <= FEW_IMAGES:
        reasons.append(
            f"warning: {count:,} images are few; on 1,000 pretraining changed little (docs/choosing.md). "
            "Start from trained weights (encoder.weights=...), or audit and repair a trained encoder"
        )
    return simclr_augself(encoder.size, encoder, epochs, batch_size), reasons


def simclr_augself(size: int, encoder: EncoderConfig, epochs: int, batch_size: int) -> Recipe:
    """SimCLR + AugSelf on images of ``size`` pixels, with moderate colour jitter and no solarisation."""
    blur = 0.5 if size >= 64 else 0.0
    view = ViewSpec(presets.simclr(size, strength=_STRENGTH, blur=blur, scale=(0.2, 1.0)))
    targets: dict[str, AnyParameterTarget] = {
        "crop": CropDifference(),
        "color": ParameterDifference(_JITTER, _JITTER_RANGES),
        "flip": SameValue("horizontal_flip", weight=0.2),
    }
    return Recipe(
        data=ImageFolder(path="photos", size=size),
        views={"a": view, "b": view},
        encoder=encoder,
        base=SimCLR.Config(projector=(512, 512, 128), temperature=0.2),
        modules={"augself": Weighted(module=AugSelf.Config(targets=targets))},
        optimizer=AdamW(lr=1e-3, weight_decay=1e-2),
        schedule=WarmupCosine(warmup_epochs=max(1, epochs // 20)),
        epochs=epochs,
        batch_size=batch_size,
        clip_gradient=1.0,
        precision="auto",
        about="equissl's default for photographs; SimCLR (arXiv:2002.05709) + AugSelf (arXiv:2111.09613)",
    )


def _encoder(side: float, cuda: bool) -> tuple[EncoderConfig, str]:
    """A timm encoder for images of a side in pixels, and the reason."""
    if side <= 48:
        name, options = ("resnet18", {}) if cuda else ("resnet10t", _SMALL_RESNET)
        reason = f"32 px, {name} with the small-image stem"
        return EncoderConfig(name=name, options=options, stem="small", size=32), reason
    if not cuda:
        reason = "64 px and a narrow resnet10t, because there is no CUDA device"
        return EncoderConfig(name="resnet10t", options=_SMALL_RESNET, size=64), reason
    if side <= 128:
        return EncoderConfig(name="resnet18", size=96), "96 px and resnet18"
    return EncoderConfig(name="resnet50", size=224), "224 px and resnet50"
