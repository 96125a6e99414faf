"""Encoders of one small architecture that differ in what they keep, for ``audit_foretelling.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from audit_planted import ChannelMeans, MirrorAveraged, Rings, TurnAveraged
from torch import nn

from equissl.augment import presets
from equissl.augment.base import Augmentation, Identity, Pipeline
from equissl.augment.color.color_jitter import ColorJitter
from equissl.augment.color.grayscale import Grayscale
from equissl.augment.filters.gaussian_blur import GaussianBlur
from equissl.augment.geometry.flip import HorizontalFlip
from equissl.augment.geometry.quarter_turn import QuarterTurn
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.augment.geometry.rotate import Rotate
from equissl.augment.orbits import QuarterTurns
from equissl.auto.default import simclr_augself
from equissl.auto.requirements import build_recipe, resolve
from equissl.data.base import Data
from equissl.encoder.backbone import CIFAR10, EncoderConfig
from equissl.encoder.encoder import Encoder
from equissl.equivariance.equimod import EquiMod
from equissl.equivariance.essl import ESSL
from equissl.evaluate.audit.references import Luminance, Pixels
from equissl.invariance.byol import BYOL
from equissl.invariance.simclr import SimCLR
from equissl.invariance.vicreg import VICReg
from equissl.recipe import Recipe, Weighted
from equissl.training.optim import AdamW, WarmupCosine
from equissl.views import ViewSpec

SIDE = 32
BACKBONE = EncoderConfig(
    name="resnet10t",
    options={"channels": (32, 64, 96, 128), "stem_width": 16},
    mean=CIFAR10[0],
    std=CIFAR10[1],
    size=SIDE,
)
_IGNORED = ("crop", "flip", "brightness", "contrast", "saturation")


def policy(
    area: tuple[float, float] = (0.2, 1.0),
    flip: bool = True,
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1),
    p: float = 0.8,
    grayscale: float = 0.2,
    first: tuple[Augmentation, ...] = (),
    last: tuple[Augmentation, ...] = (),
) -> Pipeline:
    """MoCo v2's augmentation at 32 px, with changes.

    Args:
        area: of crops; none if it is (1, 1).
        jitter: brightness, contrast, saturation and hue, applied to the fraction ``p`` of the images.
        first, last: steps before and after these.
    """
    crop = () if area == (1.0, 1.0) else (RandomResizedCrop(SIDE, area),)
    flips = (HorizontalFlip(),) if flip else ()
    colors = (ColorJitter(*jitter, p=p), Grayscale(grayscale)) if p else ()
    return Pipeline((*first, *crop, *flips, *colors, *last))


POLICIES: Mapping[str, Pipeline] = {
    "SimCLR": policy(),
    "no hue": policy(jitter=(0.4, 0.4, 0.4, 0.0), grayscale=0.0),
    "strong hue": policy(jitter=(0.4, 0.4, 0.4, 0.5), p=1.0),
    "always grey": policy(grayscale=1.0),
    "large crops": policy(area=(0.8, 1.0)),
    "small crops": policy(area=(0.05, 0.4)),
    "no flip": policy(flip=False),
    "rotated": policy(first=(Rotate((-180.0, 180.0), padding_mode="reflection"),)),
    "quarter turns": policy(first=(QuarterTurn(),)),
    "blurred": policy(last=(GaussianBlur(13, (0.1, 2.0), p=1.0),)),
    "colour only": policy(area=(1.0, 1.0), flip=False),
    "crop only": policy(flip=False, p=0.0),
    "strong light": policy(jitter=(0.8, 0.8, 0.4, 0.1), p=1.0),
}
WITHOUT_TRAINING: Mapping[str, Callable[[], nn.Module]] = {
    "channel means": ChannelMeans,
    "grey": Luminance,
    "pixels": Pixels,
    "mirror-averaged": MirrorAveraged,
    "turn-averaged": TurnAveraged,
    "rings": Rings,
}


def recipes(data: Data, epochs: int, seed: int = 0) -> dict[str, Recipe]:
    """The trained encoders by name, all with one backbone, optimizer and number of steps."""

    def start(augment: Augmentation) -> Recipe:
        view = ViewSpec(augment)
        return Recipe(
            data=data,
            views={"a": view, "b": view},
            encoder=BACKBONE,
            base=SimCLR.Config(projector=(256, 128), temperature=0.2),
            optimizer=AdamW(lr=2e-3, weight_decay=1e-3),
            schedule=WarmupCosine(warmup_epochs=1),
            epochs=epochs,
            batch_size=128,
            seed=seed,
            monitor_every=0,
        )

    simclr = start(POLICIES["SimCLR"])
    augself = simclr_augself(SIDE, BACKBONE, epochs, 128).modules
    small = ViewSpec(presets.essl_cifar10(16), orbit=QuarterTurns())

    def kept(*factors: str) -> Recipe:
        ignored = tuple(n for n in (*_IGNORED, "hue") if n not in factors)
        return build_recipe(simclr, resolve(factors, ignored))

    return {
        **{name: start(augment) for name, augment in POLICIES.items()},
        "+ EquiMod": replace(
            simclr,
            views={"plain": ViewSpec(Identity()), **simclr.views},
            modules={"equimod": Weighted(module=EquiMod.Config(projector=(256, 128)))},
        ),
        "+ AugSelf": replace(simclr, modules=augself),
        "+ E-SSL": replace(
            simclr,
            views={**simclr.views, "small": small},
            modules={"essl": Weighted(weight=0.4, module=ESSL.Config(hidden=(256,)))},
        ),
        "keep hue": kept("hue"),
        "keep rotation": kept("rotation"),
        "VICReg": replace(simclr, base=VICReg.Config(projector=(512, 512))),
        "BYOL": replace(simclr, base=BYOL.Config(projector=(512, 128), predictor=(512, 128), momentum=0.98)),
    }


def without_training(name: str) -> Encoder:
    """One of ``WITHOUT_TRAINING``."""
    return Encoder(WITHOUT_TRAINING[name](), mean=(0.0,) * 3, std=(1.0,) * 3, probe=(3, SIDE, SIDE))


def random_weights(seed: int) -> Encoder:
    """The backbone as it is built."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return BACKBONE.build().eval()
