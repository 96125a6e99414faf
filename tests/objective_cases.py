"""The configurations of every base objective and equivariance module that the tests go through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from equissl.encoder.encoder import Encoder
from equissl.equivariance._parameter_targets import (
    CropDifference,
    FactorClassification,
    FactorDifference,
    FactorRegression,
    ParameterDifference,
    SameValue,
)
from equissl.equivariance.augself import AugSelf
from equissl.equivariance.cross_attention_reconstruction import CrossAttentionReconstruction
from equissl.equivariance.equimod import EquiMod, LegacyLayout
from equissl.equivariance.essl import ESSL
from equissl.equivariance.intermediate_reconstruction import IntermediateReconstruction
from equissl.equivariance.sie import SIE
from equissl.invariance._self_distillation import SelfDistillationConfig
from equissl.invariance.barlow_twins import BarlowTwins
from equissl.invariance.byol import BYOL
from equissl.invariance.dino import DINO
from equissl.invariance.dinov2 import DINOv2
from equissl.invariance.feature_distillation import FeatureDistillation
from equissl.invariance.ibot import IBOT
from equissl.invariance.moco import MoCo
from equissl.invariance.moco_v3 import MoCoV3
from equissl.invariance.simclr import SimCLR
from equissl.invariance.simsiam import SimSiam
from equissl.invariance.vicreg import VICReg
from equissl.nn.decoder import DecoderConfig
from equissl.nn.predictors import Affine, ConcatenatedMLP, Hypernetwork, ResidualMLP
from equissl.testing.objective import masked_views, tiny_encoder, tiny_transformer, tiny_views
from equissl.views import ViewSpec

SMALL: dict[str, Any] = {"projector": (24, 8)}
DISTILLATION = SelfDistillationConfig(projector=(24, 8), num_prototypes=20, freeze_prototypes=0.0)
BASES = {
    "simclr": SimCLR.Config(**SMALL),
    "simclr-other-view": SimCLR.Config(**SMALL, negatives="other_view", batch_norm="per_view"),
    "byol": BYOL.Config(**SMALL, predictor=(24, 8)),
    "simsiam": SimSiam.Config(**SMALL, predictor=(12, 8)),
    "moco": MoCo.Config(**SMALL, queue_size=12),  # no multiple of the batches
    "moco-v3": MoCoV3.Config(**SMALL, predictor=(24, 8)),
    "barlow-twins": BarlowTwins.Config(**SMALL),
    "feature-distillation": FeatureDistillation.Config(),
    "vicreg": VICReg.Config(**SMALL),
    "dino": DINO.Config(**SMALL, num_prototypes=20, freeze_prototypes=0.0),
    "ibot": IBOT.Config(distillation=DISTILLATION),
    "dinov2": DINOv2.Config(distillation=replace(DISTILLATION, separate_heads=True, centering="sinkhorn")),
}
MASKED = ("ibot", "dinov2")  # need a transformer and views with masked patches
DECODER = DecoderConfig(channels=(8, 8))
MODULES = {
    "equimod": EquiMod.Config(**SMALL, predictor=Affine(parameter_width=8)),
    "equimod-raw": EquiMod.Config(**SMALL, predictor=Affine(parameter_width=0)),
    "equimod-residual": EquiMod.Config(**SMALL, predictor=ResidualMLP()),
    "equimod-paper": EquiMod.Config(**SMALL, loss="paper"),
    "equimod-paper-positive": EquiMod.Config(**SMALL, loss="paper_positive_counts"),
    "equimod-legacy": EquiMod.Config(**SMALL, layout=LegacyLayout(15, (16, 16), (0.0,) * 15, (1.0,) * 15)),
    "augself": AugSelf.Config(
        hidden=(16,),
        targets={
            "crop": CropDifference(),
            "color": ParameterDifference(("brightness", "hue"), (0.8, 0.2)),
            "flip": SameValue("horizontal_flip"),
            "order": FactorDifference(("color_order", "saturation")),
            "hue": FactorRegression(("hue",), "mse"),
        },
    ),
    "essl": ESSL.Config(
        view="a",
        targets={
            "which": FactorClassification(factors=("horizontal_flip", "color_order")),
            "much": FactorRegression(factors=("hue", "saturation")),
        },
        hidden=(16, 8),
    ),
    "essl-relative": ESSL.Config(
        view="a",
        source="plain",
        targets={"much": FactorRegression(factors=("brightness",), error="mse")},
        hidden=(16,),
        last_relu=False,
    ),
    "augself-asymmetric": AugSelf.Config(hidden=(16,), symmetric=False),
    "equimod-hypernetwork": EquiMod.Config(**SMALL, output_norm="none", predictor=Hypernetwork(bias=True)),
    "sie": SIE.Config(**SMALL, part="all", predictor=Hypernetwork()),
    "sie-own": SIE.Config(**SMALL, part="all", statistics="own", predicted_variance=0),
    "sie-deep": SIE.Config(
        **SMALL, part="all", predictor=Hypernetwork(hidden=(9,), layers=(7,), bias=True, generated_bias=True)
    ),
    "sie-mlp": SIE.Config(**SMALL, part="all", predictor=ConcatenatedMLP(hidden=(16,))),
    "cross-attention": CrossAttentionReconstruction.Config(decoder=DECODER),
    "cross-attention-r1": CrossAttentionReconstruction.Config(
        decoder=DECODER, variant="R1", residual=False, projections="linear", num_heads=2
    ),
    "cross-attention-r2": CrossAttentionReconstruction.Config(
        decoder=DECODER, variant="R2", hidden=(12,), targets="second", space="unit"
    ),
    "cross-attention-pooled": CrossAttentionReconstruction.Config(
        decoder=DECODER, tokens="pooled", targets="first"
    ),
    "intermediate": IntermediateReconstruction.Config(decoder=DECODER, targets=("plain",)),
    "intermediate-sum": IntermediateReconstruction.Config(
        decoder=DECODER, targets=("plain", "b"), reduction="sum"
    ),
}


def surroundings(name: str) -> tuple[Callable[..., Encoder], dict[str, ViewSpec]]:
    """The encoder and the views that a base needs."""
    return (tiny_transformer, masked_views()) if name in MASKED else (tiny_encoder, tiny_views())
