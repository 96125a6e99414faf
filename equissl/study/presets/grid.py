"""Invariance objectives x equivariance modules under one protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from equissl.augment.base import Pipeline
from equissl.augment.color.color_jitter import ColorJitter
from equissl.augment.geometry.flip import HorizontalFlip
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.augment.orbits import QuarterTurns
from equissl.data.solids import Solids
from equissl.encoder.backbone import EncoderConfig
from equissl.equivariance._parameter_targets import (
    AnyParameterTarget,
    CropDifference,
    FactorDifference,
    SameValue,
)
from equissl.equivariance.augself import AugSelf
from equissl.equivariance.equimod import EquiMod
from equissl.equivariance.essl import ESSL
from equissl.errors import UserError, nearest
from equissl.invariance.barlow_twins import BarlowTwins
from equissl.invariance.byol import BYOL
from equissl.invariance.dino import DINO
from equissl.invariance.moco import MoCo
from equissl.invariance.moco_v3 import MoCoV3
from equissl.invariance.simclr import SimCLR
from equissl.invariance.simsiam import SimSiam
from equissl.invariance.vicreg import VICReg
from equissl.nn.predictors import Affine
from equissl.objective import BaseConfig
from equissl.recipe import Recipe, Weighted
from equissl.study.plan import Bars, Cell, Measure, Study
from equissl.training.optim import AdamW, WarmupCosine
from equissl.views import ViewSpec

SIZE = 32


def policy(size: int) -> Pipeline:
    """Augmentation of both views: strong hue jitter and crops, whose factors an invariant encoder loses."""
    jitter = ColorJitter(0.4, 0.4, 0.4, hue=0.5, p=1.0)
    return Pipeline((RandomResizedCrop(size, scale=(0.2, 1.0)), HorizontalFlip(), jitter))


# Linear projectors: behind a deep one the features stay far less invariant, and a module could add nothing.
BASES: Mapping[str, BaseConfig] = {
    "simclr": SimCLR.Config(projector=(64,), temperature=0.2),
    "byol": BYOL.Config(projector=(64,), predictor=(128, 64), momentum=0.99),
    "simsiam": SimSiam.Config(projector=(128,), predictor=(32, 128)),
    "barlowtwins": BarlowTwins.Config(projector=(256,)),
    "vicreg": VICReg.Config(projector=(256,)),
    "moco": MoCo.Config(projector=(128, 64), queue_size=1024, momentum=0.99),
    "mocov3": MoCoV3.Config(projector=(256, 64), predictor=(256, 64), temperature=0.2),
    "dino": DINO.Config(projector=(256, 64), num_prototypes=256, momentum=0.99),
}


def _none(recipe: Recipe) -> Recipe:
    return recipe


def _equimod(recipe: Recipe) -> Recipe:
    module = EquiMod.Config(projector=(128, 64), predictor=Affine(parameter_width=32))
    views = {"plain": ViewSpec(), **recipe.views}
    return replace(recipe, views=views, modules={"equimod": Weighted(module=module)})


def _augself(recipe: Recipe) -> Recipe:
    targets: dict[str, AnyParameterTarget] = {
        "crop": CropDifference(),
        "hue": FactorDifference(("hue",)),
        "flip": SameValue("horizontal_flip", weight=0.2),
    }
    module = AugSelf.Config(targets=targets, hidden=(256,))
    return replace(recipe, modules={"augself": Weighted(module=module)})


def _essl(recipe: Recipe) -> Recipe:
    """Quarter turns of a crop of half the side: as many pixels as one full-sized view."""
    small = ViewSpec(policy(SIZE // 2), orbit=QuarterTurns())
    module = Weighted(weight=0.4, module=ESSL.Config(hidden=(256,)))
    return replace(recipe, views={**recipe.views, "small": small}, modules={"essl": module})


MODULES: Mapping[str, Callable[[Recipe], Recipe]] = {
    "none": _none,
    "equimod": _equimod,
    "essl": _essl,
    "augself": _augself,
}


def grid(
    bases: tuple[str, ...] = ("simclr", "byol", "simsiam", "barlowtwins", "vicreg"),
    modules: tuple[str, ...] = tuple(MODULES),
    images: int = 1000,
) -> Study:
    """Invariance objectives x equivariance modules: top-1, kNN and factors decoded from the features.

    Args:
        bases: any of simclr, byol, simsiam, barlowtwins, vicreg, moco, mocov3, dino.
        modules: any of none, equimod, essl, augself; "none" is the baseline of the paired differences.
        images: maximum number of test images to score.

    Raises:
        UserError: a name that does not exist.
    """
    problems = [f"bases: no base {b!r}; {nearest(b, BASES)}" for b in bases if b not in BASES]
    problems += [f"modules: no module {m!r}; {nearest(m, MODULES)}" for m in modules if m not in MODULES]
    if problems or not bases or not modules:
        raise UserError(problems or "bases and modules must name at least one each")
    cells = [Cell({"base": b, "module": m}, MODULES[m](recipe(b))) for b in bases for m in modules]
    return Study(
        title="Invariance objectives x equivariance modules",
        cells=tuple(cells),
        measures=(
            Measure("linear/top1", "top-1"),
            Measure("knn/top1", "kNN"),
            Measure("audit/crop_left", "crop left, R2"),
            Measure("audit/crop_top", "crop top, R2"),
            Measure("audit/hue", "hue, R2"),
            Measure("audit/rotation", "rotation, R2"),
            Measure("audit/horizontal_flip", "flip, balanced accuracy"),
            Measure("factor/floor_hue", "floor hue, R2"),
            Measure("factor/pose", "pose, R2"),
        ),
        figure=Bars(groups="base", series="module"),
        about=(
            "A CPU-sized setting of our own, not tuned per cell and not comparable with any paper. All cells "
            "share images, encoder, policy, optimiser, epochs and batch; modules that need further views "
            "cost more per step, as the columns say."
        ),
        audits=("crop", "hue", "rotation", "horizontal_flip"),
        images=images,
        compare=("module", "none"),
    )


def recipe(base: str = "simclr") -> Recipe:
    """A base of the grid alone, ``BASES``."""
    view = ViewSpec(policy(SIZE))
    return Recipe(
        data=Solids(size=SIZE, objects=160, views=10),
        views={"a": view, "b": view},
        encoder=EncoderConfig(
            name="resnet10t", options={"channels": (32, 64, 64, 64), "stem_width": 16}, size=SIZE
        ),
        base=BASES[base],
        optimizer=AdamW(lr=2e-3, weight_decay=1e-3),
        schedule=WarmupCosine(warmup_epochs=1),
        epochs=10,
        batch_size=64,
        monitor_every=0,
        about="a cell of the grid, CPU-sized; its numbers are not comparable with any paper's",
    )
