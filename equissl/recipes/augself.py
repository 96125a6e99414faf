"""AugSelf on SimCLR with the released code's settings (arXiv:2111.09613).

BatchNorm sees one view after the other, in the encoder and in SimCLR's head; the heads of AugSelf see both
orders of the views at once. Deviations: a crop's centre is mirrored by its own view's flip, saturation is
blended and the jitter's order is drawn for every image (``docs/methods/augself.md`` names the options).

The paper's tables are not quoted here: they could not be checked against its PDF.
"""

from __future__ import annotations

from dataclasses import replace

from equissl.augment import presets
from equissl.data.image_folder import ImageFolder
from equissl.data.torchvision_sets import Stl10
from equissl.encoder.backbone import STL10, EncoderConfig
from equissl.equivariance._parameter_targets import AnyParameterTarget, CropDifference, ParameterDifference
from equissl.equivariance.augself import AugSelf
from equissl.invariance.simclr import SimCLR
from equissl.recipe import Recipe, Weighted
from equissl.training.optim import SGD, WarmupCosine
from equissl.views import ViewSpec

_COLOR = ("brightness", "contrast", "saturation", "hue")
_RANGES = (0.8, 0.8, 0.8, 0.2)  # of the jitter (.4, .4, .4, .1): maximum - minimum of each factor


def baseline_simclr_stl10() -> Recipe:
    """SimCLR on STL-10 (train + unlabelled, 96 px, ResNet-18, 200 epochs) as AugSelf's authors run it."""
    view = ViewSpec(presets.augself_stl10())
    return Recipe(
        data=Stl10(path="data", unlabeled=True),
        views={"a": view, "b": view},
        encoder=EncoderConfig(name="resnet18", init="torch", mean=STL10[0], std=STL10[1], size=96),
        base=_simclr(512),
        optimizer=SGD(lr=0.03, weight_decay=5e-4),
        schedule=WarmupCosine(warmup_epochs=0, min_lr=0.0, update_every="epoch"),
        epochs=200,
        batch_size=256,
        batch_norm="per_view",
        monitor_every=10,
        about="AugSelf's SimCLR baseline, arXiv:2111.09613",
    )


def simclr_stl10() -> Recipe:
    """SimCLR + AugSelf on STL-10: crop and colour differences, weight 1 each."""
    return _with_augself(baseline_simclr_stl10(), 1.0)


def baseline_simclr_imagenet100() -> Recipe:
    """SimCLR on a 100-class ImageNet folder (224 px, ResNet-50, 500 epochs) as AugSelf's authors run it."""
    view = ViewSpec(presets.augself_imagenet100())
    return replace(
        baseline_simclr_stl10(),
        data=ImageFolder(path="imagenet100", size=256, labels="folders"),
        views={"a": view, "b": view},
        encoder=EncoderConfig(name="resnet50", init="torch", size=224),
        base=_simclr(2048),
        optimizer=SGD(lr=0.05, weight_decay=1e-4),
        epochs=500,
    )


def simclr_imagenet100() -> Recipe:
    """SimCLR + AugSelf on ImageNet-100: crop and colour differences, weight 0.5 each."""
    return _with_augself(baseline_simclr_imagenet100(), 0.5)


def _simclr(width: int) -> SimCLR.Config:
    return SimCLR.Config(projector=(width, 128), output_norm="none", batch_norm="per_view", temperature=0.2)


def _with_augself(recipe: Recipe, weight: float) -> Recipe:
    targets: dict[str, AnyParameterTarget] = {
        "crop": CropDifference(),
        "color": ParameterDifference(_COLOR, _RANGES),
    }
    return replace(
        recipe,
        modules={"augself": Weighted(weight=weight, module=AugSelf.Config(targets=targets))},
        about=f"{recipe.about}, with crop and colour prediction, weight {weight}",
    )
