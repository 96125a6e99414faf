"""Recipes of image reconstruction: intermediate (arXiv:2503.18753) and cross-attention (arXiv:2412.03314).

Read in the first paper's text: backbones, widths and splits, base losses, epochs, batch, lr per 256
images, paths, K = 2, lambda = 1. Everything else is inherited from the bases or our choice; weight decay,
warm-up (but DINOv2's), betas and crops are not given there. Of the second paper only abstract and summaries
were read, so ``cross_attention_*`` is a reading of it, not a reproduction. We have run none of these at the
papers' scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from equissl.augment import paths
from equissl.augment.base import Augmentation, Identity, Pipeline
from equissl.augment.color.color_jitter import ColorJitter
from equissl.augment.geometry.flip import HorizontalFlip
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.augment.masking.patch_mask import PatchMask
from equissl.augment.presets import asymmetric, multi_crop
from equissl.data.base import Data
from equissl.data.image_folder import ImageFolder
from equissl.data.solids import Solids
from equissl.data.threediebench import ThreeDIEBench
from equissl.encoder.backbone import EncoderConfig
from equissl.equivariance.cross_attention_reconstruction import CrossAttentionReconstruction
from equissl.equivariance.intermediate_reconstruction import IntermediateReconstruction
from equissl.equivariance.sie import SIE
from equissl.invariance._self_distillation import SelfDistillationConfig
from equissl.invariance.dinov2 import DINOv2
from equissl.invariance.ibot import IBOT
from equissl.invariance.vicreg import VICReg
from equissl.nn.decoder import DecoderConfig
from equissl.nn.predictors import Hypernetwork
from equissl.objective import BaseConfig
from equissl.params import Circular
from equissl.recipe import Recipe, Weighted
from equissl.training.optim import Adam, AdamW, WarmupCosine
from equissl.views import ViewSpec, intermediate_views

Kind = Literal["base", "cross_attention", "intermediate", "sie"]
_MEAN, _STD = (0.5016, 0.5037, 0.5060), (0.1030, 0.0999, 0.0969)
_VICREG = VICReg.Config(projector=(1024, 1024, 1024), invariance=10, variance=10, covariance=1, part="inv")


def vicreg_vit_s16(family: str = "rotation", num_targets: int = 2) -> Recipe:
    """VICReg + intermediate reconstruction on ImageNet: ViT-S/16, 800 epochs.

    Half of the 512 features are equivariant. The paper's R2 with rotation paths: .998
    (rotation), .923 (colour), .969 (blur), .980 (translation).

    Args:
        family: of ``augment.paths.PATHS``.
        num_targets: intermediate images, the paper's K.
    """
    views = path_views(asymmetric(1), asymmetric(2), paths.PATHS[family], num_targets)
    return _imagenet(_vit("small", 512, 256), _VICREG, views, 1e-4, 800, 2048, num_targets)


def cross_attention_vicreg_vit_s16() -> Recipe:
    """VICReg + cross-attention reconstruction on ImageNet: ViT-S/16, 800 epochs.

    A reading of arXiv:2412.03314, not a reproduction. arXiv:2503.18753 reports R2 of .893 (rotation), .921
    (colour), .823 (blur) and .875 (translation) for it.
    """
    views = {"a": ViewSpec(asymmetric(1)), "b": ViewSpec(asymmetric(2))}
    return _imagenet(_vit("small", 512, 256), _VICREG, views, 1e-4, 800, 2048, 0)


def ibot_vit_s16(family: str = "rotation", num_targets: int = 2) -> Recipe:
    """iBOT + intermediate reconstruction on ImageNet: ViT-S/16, 800 epochs.

    A quarter of the 8192 features is equivariant.
    """
    encoder = _vit("small", 8192, 2048, pool="token", masks=True)
    base = IBOT.Config(local=_LOCAL, part="inv")
    return _imagenet(encoder, base, masked_multi_crop(family, num_targets), 5e-4, 800, 1024, num_targets)


def ibot_vit_l16(family: str = "se2", num_targets: int = 2) -> Recipe:
    """iBOT + intermediate reconstruction on ImageNet: ViT-L/16, 250 epochs, SE(2) paths.

    A quarter of the 8192 features is equivariant. The paper's R2: .937 (rotation), .943 (colour).
    """
    encoder = _vit("large", 8192, 2048, pool="token", masks=True)
    base = IBOT.Config(local=_LOCAL, part="inv")
    return _imagenet(encoder, base, masked_multi_crop(family, num_targets), 5e-4, 250, 1024, num_targets)


def dinov2_vit_l16(family: str = "se2", num_targets: int = 2) -> Recipe:
    """DINOv2 + intermediate reconstruction on ImageNet: ViT-L/16, 100 epochs, SE(2) paths.

    A quarter of the 2048 features is equivariant. The paper's R2: .840 (rotation), .933 (colour). Its lr of
    4e-3 is taken as that of the whole batch of 2048, not per 256 images.
    """
    encoder = _vit("large", 2048, 512, pool="token", masks=True)
    base = DINOv2.Config(local=_LOCAL, part="inv")
    return _imagenet(
        encoder, base, masked_multi_crop(family, num_targets), 4e-3 * 256 / 2048, 100, 2048, num_targets
    )


def cross_attention_3diebench() -> Recipe:
    """VICReg + cross-attention reconstruction on 3DIEBench: ResNet-18 with SIE's settings.

    A reading of arXiv:2412.03314, whose own settings are unknown to us.
    """
    return Recipe(
        data=ThreeDIEBench(path="3DIEBench", paired=True),
        views={"a": ViewSpec(Identity()), "b": ViewSpec(Identity(), image="partner")},
        encoder=EncoderConfig(
            name="resnet18", parts={"inv": 256, "equi": 256}, mean=_MEAN, std=_STD, size=256
        ),
        base=_VICREG,
        modules={"cross_attention": Weighted(module=CrossAttentionReconstruction.Config(part="equi"))},
        optimizer=Adam(lr=1e-3, weight_decay=1e-6),
        schedule=WarmupCosine(warmup_epochs=0, min_lr=1e-3),
        epochs=40,
        batch_size=1024,
        batch_norm="per_view",
        monitor_every=10,
        about="cross-attention reconstruction, a reading of arXiv:2412.03314 and no reproduction, with SIE's "
        "settings; an epoch is every image with a partner, so 40 are 2,000 of the original's",
    )


def small(
    kind: Kind = "intermediate",
    data: Data = Solids(size=32, objects=240, views=10),
    family: str = "rotation",
    num_targets: int = 2,
    epochs: int = 60,
) -> Recipe:
    """VICReg with a reconstruction module, with SIE or alone, at the size of a CPU; not a paper's setting.

    Views, encoder and steps are the same for all kinds. The encoder's 64 features lie on a grid of 4 x 4 and
    are split in half. VICReg alone acts on all of them: a half without invariance loss would keep the factors
    that the baseline is meant to lose. Reconstruction has weight 10, not the papers' 1, which is negligible
    for a mean over pixels beside VICReg's 10, 10 and 1.

    Args:
        kind: "base" (VICReg alone), "cross_attention", "intermediate", or "sie", whose predictor gets the
            parameters of the path as an input.
        data: images of 32 pixels.
        family: of ``augment.paths.PATHS``; applied to the second view of every sample.
        num_targets: intermediate images, for "intermediate".
    """
    crop, flip, jitter = RandomResizedCrop(32, scale=(0.5, 1.0)), HorizontalFlip(), ColorJitter()
    path = paths.PATHS[family]
    views = path_views(Pipeline((crop, flip, jitter)), Pipeline((crop, flip, jitter)), path, num_targets)
    decoder = DecoderConfig(channels=(64, 32, 16))
    modules: dict[Kind, dict[str, Weighted]] = {
        "base": {},
        "cross_attention": {
            "cross_attention": Weighted(
                weight=10, module=CrossAttentionReconstruction.Config(part="equi", decoder=decoder)
            )
        },
        "intermediate": {"intermediate": Weighted(weight=10, module=_intermediate(num_targets, decoder))},
        "sie": {"sie": Weighted(module=_sie(path))},
    }
    base = replace(_VICREG, projector=(128, 128, 128), part="all" if kind == "base" else "inv")
    if kind == "sie":  # SIE's own variance and covariance terms act on both halves
        base = replace(base, variance=0, covariance=0)
    return Recipe(
        data=data,
        views={n: s for n, s in views.items() if s.encode or kind == "intermediate"},
        encoder=EncoderConfig(
            name="resnet10t",
            options={"channels": (32, 64, 64, 64), "stem_width": 16, "output_stride": 8},
            parts={} if kind == "base" else {"inv": 32, "equi": 32},
            size=32,
        ),
        base=base,
        modules=modules[kind],
        optimizer=AdamW(lr=2e-3, weight_decay=1e-3),
        schedule=WarmupCosine(warmup_epochs=1),
        epochs=epochs,
        batch_size=128,
        batch_norm="per_view",
        monitor_every=0,
        about=f"VICReg, {kind}, second view transformed by {family}; a CPU-sized setting of our own",
    )


def ibot_small(data: Data = Solids(size=32, objects=240, views=10), family: str = "rotation") -> Recipe:
    """iBOT + intermediate reconstruction at the size of a CPU: a small ViT; not the paper's setting."""
    crop = Pipeline((RandomResizedCrop(32, scale=(0.5, 1.0)), HorizontalFlip(), ColorJitter()))
    mask = PatchMask(grid_size=8)
    views = path_views(Pipeline((crop, mask)), crop, paths.PATHS[family], 2)
    views["b"] = replace(views["b"], augment=Pipeline((views["b"].augment, mask)))
    return Recipe(
        data=data,
        views=views,
        encoder=EncoderConfig(
            name="vit_tiny_patch16_224",
            options={"patch_size": 4, "embed_dim": 96, "depth": 4, "num_heads": 3},
            width=128,
            parts={"inv": 96, "equi": 32},
            mask_token=True,
            size=32,
        ),
        base=IBOT.Config(
            distillation=SelfDistillationConfig(projector=(128, 64), num_prototypes=512, momentum=0.99),
            part="inv",
        ),
        modules={"intermediate": Weighted(module=_intermediate(2, DecoderConfig(channels=(64, 32))))},
        optimizer=AdamW(lr=1e-3, weight_decay=0.04),
        schedule=WarmupCosine(warmup_epochs=2),
        epochs=16,
        batch_size=128,
        clip_gradient=3.0,
        monitor_every=0,
        about="iBOT + intermediate reconstruction; a CPU-sized setting of our own",
    )


def path_views(
    first: Augmentation, second: Augmentation, path: Augmentation, num_targets: int = 2
) -> dict[str, ViewSpec]:
    """Views of arXiv:2503.18753: "a" (``first``), "b" (``second``, then ``path``) and "intermediate_k"."""
    b = ViewSpec(Pipeline((second, path)))
    targets = intermediate_views("b", b, paths.continuous_factors(path), num_targets) if num_targets else {}
    return {"a": ViewSpec(first), "b": b, **targets}


def masked_multi_crop(family: str, num_targets: int) -> dict[str, ViewSpec]:
    """DINO's ten crops: large ones with masked patches, the second of them also transformed by the path."""
    crops, mask = multi_crop(scale=(0.32, 1.0), local_scale=(0.05, 0.32)), PatchMask(grid_size=14)
    views = path_views(Pipeline((crops["a"], mask)), crops["b"], paths.PATHS[family], num_targets)
    views["b"] = replace(views["b"], augment=Pipeline((views["b"].augment, mask)))
    return views | {n: ViewSpec(crops[n]) for n in _LOCAL}


_LOCAL = tuple(f"local_{k}" for k in range(1, 9))


def _intermediate(
    num_targets: int, decoder: DecoderConfig = DecoderConfig()
) -> IntermediateReconstruction.Config:
    targets = tuple(f"intermediate_{k}" for k in range(1, num_targets + 1))
    return IntermediateReconstruction.Config(part="equi", targets=targets, decoder=decoder)


def _sie(path: Augmentation) -> SIE.Config:
    """Without bias, as in the paper, if an angle is among the factors; others encode "no change" as zeros."""
    factors = paths.continuous_factors(path)
    angles = any(isinstance(f, Circular) for f in path.space if f.name in factors)
    predictor = Hypernetwork(bias=not angles)
    return SIE.Config(part="equi", factors=factors, projector=(128, 128, 128), predictor=predictor)


def _vit(size: str, width: int, equi: int, pool: str = "avg", masks: bool = False) -> EncoderConfig:
    options = {"global_pool": pool, "fc_norm": False} | ({"dynamic_img_size": True} if masks else {})
    return EncoderConfig(
        name=f"vit_{size}_patch16_224",
        options=options,
        width=width,
        parts={"inv": width - equi, "equi": equi},
        mask_token=masks,
    )


def _imagenet(
    encoder: EncoderConfig,
    base: BaseConfig,
    views: Mapping[str, ViewSpec],
    lr: float,
    epochs: int,
    batch: int,
    num_targets: int,
) -> Recipe:
    """``lr`` is per 256 images; ``num_targets`` 0 is cross-attention reconstruction."""
    name = "intermediate" if num_targets else "cross_attention"
    module = _intermediate(num_targets) if num_targets else CrossAttentionReconstruction.Config(part="equi")
    return Recipe(
        data=ImageFolder(path="imagenet", size=256),
        views=views,
        encoder=encoder,
        base=base,
        modules={name: Weighted(module=module)},
        optimizer=AdamW(lr=lr * batch / 256, weight_decay=0.04),
        schedule=WarmupCosine(warmup_epochs=10),
        epochs=epochs,
        batch_size=batch,
        batch_norm="per_view",
        precision="bf16-mixed",
        clip_gradient=3.0,
        about="intermediate reconstruction (arXiv:2503.18753)"
        if num_targets
        else "cross-attention reconstruction, a reading of arXiv:2412.03314",
    )
