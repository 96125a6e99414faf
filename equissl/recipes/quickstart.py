"""The two runs of ``equissl quickstart``: one small encoder, with and without equivariance."""

from __future__ import annotations

from dataclasses import replace

from equissl.augment.base import Pipeline
from equissl.augment.crop import Crop
from equissl.augment.geometry import Rotate
from equissl.augment.jitter import ColorJitter
from equissl.base.simclr import SimCLR
from equissl.data.solids import Solids
from equissl.encoder.backbone import EncoderConfig
from equissl.equivariance.equimod import EquiMod
from equissl.equivariance.predict_change import FactorChange, PredictChange
from equissl.optimize import AdamW, WarmupCosine
from equissl.recipe import Recipe, Weighted
from equissl.views import ViewSpec


def invariant() -> Recipe:
    """SimCLR that learns to ignore rotation and hue, and whatever differs between pictures of one object."""
    policy = Pipeline(
        (
            Crop(32, area=(0.5, 1.0)),
            Rotate(degrees=(-45.0, 45.0), fill="reflect"),
            ColorJitter(0.2, 0.2, 0.2, 0.5, probability=1.0),
        )
    )
    return Recipe(
        data=Solids(size=32, objects=480, views=10, paired=True),
        views={"a": ViewSpec(policy), "b": ViewSpec(policy, picture="partner")},
        encoder=EncoderConfig(
            name="resnet10t", options={"channels": (32, 64, 128, 256), "stem_width": 16}, size=32
        ),
        base=SimCLR.Config(projector=(256, 64), temperature=0.2),
        optimizer=AdamW(rate=2e-3, weight_decay=1e-4),
        schedule=WarmupCosine(warmup_epochs=1),
        epochs=10,
        batch_size=128,
    )


def equivariant() -> Recipe:
    """The same with EquiMod and AugSelf: what was ignored is predicted instead."""
    base = invariant()
    kept = ("rotation", "hue", "floor_hue")
    return replace(
        base,
        modules={
            "equimod": Weighted(
                weight=0.5, module=EquiMod.Config(pairs=(("a", "b"),), factors=kept, projector=(256, 64))
            ),
            "augself": Weighted(
                weight=1.0,
                module=PredictChange.Config(targets={n: FactorChange((n,)) for n in kept}, hidden=(256,)),
            ),
        },
    )
