"""The two runs of ``equissl quickstart``: one small encoder, with and without equivariance.

Both learn, without labels, to see that two images show the same solid although pose, floor, light, crop
and hue differ. The second also predicts the transformation between two views, so its
features keep what the first one ignores.
"""

from __future__ import annotations

from dataclasses import replace

from equissl.augment.base import Pipeline
from equissl.augment.color.color_jitter import ColorJitter
from equissl.augment.factor_names import CROP
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.data.solids import Solids
from equissl.encoder.backbone import EncoderConfig
from equissl.equivariance._parameter_targets import FactorDifference
from equissl.equivariance.augself import AugSelf
from equissl.equivariance.equimod import EquiMod
from equissl.invariance.simclr import SimCLR
from equissl.nn.predictors import ResidualMLP
from equissl.recipe import Recipe, Weighted
from equissl.training.optim import AdamW, WarmupCosine
from equissl.views import ViewSpec

SIZE = 32


def invariant() -> Recipe:
    """SimCLR on pairs of images of one solid, cropped and with any hue; a CPU-sized setting of our own."""
    policy = Pipeline((RandomResizedCrop(SIZE, scale=(0.3, 1.0)), ColorJitter(0.3, 0.3, 0.3, hue=0.5, p=1.0)))
    return Recipe(
        data=Solids(size=SIZE, objects=480, views=10, paired=True),
        views={"a": ViewSpec(policy), "b": ViewSpec(policy, image="partner")},
        encoder=EncoderConfig(
            name="resnet10t", options={"channels": (32, 64, 64, 64), "stem_width": 16}, size=SIZE
        ),
        # A single linear layer: with a deep projector the features themselves stay far less invariant.
        base=SimCLR.Config(projector=(64,), temperature=0.2),
        optimizer=AdamW(lr=2e-3, weight_decay=1e-3),
        schedule=WarmupCosine(warmup_epochs=1),
        epochs=16,
        batch_size=128,
        monitor_every=4,
        about="SimCLR: ignore whatever differs between two images of a solid",
    )


def equivariant() -> Recipe:
    """The same with EquiMod and AugSelf: the hue shift and the crop are predicted instead of only ignored."""
    base = invariant()
    pair, kept = ("plain", "a"), ("hue", *CROP)
    targets = {"hue": FactorDifference(("hue",)), "crop": FactorDifference(CROP)}
    return replace(
        base,
        views={"plain": ViewSpec(), **base.views},
        modules={
            "equimod": Weighted(
                weight=0.5,
                module=EquiMod.Config(pairs=(pair,), factors=kept, projector=(64,), predictor=ResidualMLP()),
            ),
            "augself": Weighted(module=AugSelf.Config(pair=pair, targets=targets, hidden=(256,))),
        },
        about="SimCLR + EquiMod + AugSelf: know what was done to hue and crop",
    )
