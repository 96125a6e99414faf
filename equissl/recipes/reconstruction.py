"""Reconstruction without parameters: blend (arXiv:2412.03314) and path (arXiv:2503.18753).

Read in the second paper's text: backbones, widths and splits, base losses, epochs, batch, lr per 256
images, paths, K = 2, lambda = 1. Everything else is inherited from the bases or our choice; weight decay,
warm-up (but DINOv2's), betas and crops are not given there. Of the first paper only abstract and summaries
were read, so ``blend_*`` is a faithful reading, not a reproduction. We have run none of these at its scale.
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

Kind = Literal["base", "blend", "path", "sie"]
_MEAN, _STD = (0.5016, 0.5037, 0.5060), (0.1030, 0.0999, 0.0969)
_VICREG = VICReg.Config(projector=(1024, 1024, 1024), invariance=10, variance=10, covariance=1, part="inv")


def vicreg_vit_s16(family: str = "rotation", count: int = 2) -> Recipe:
    """VICReg + path, ViT-S/16, ImageNet; d = 512, half of it equivariant.

    The paper's R2 with ways of rotation: .998 (rotation), .923 (colour), .969 (blur), .980 (translation).

    Args:
        family: of ``augment.paths.PATHS``.
        count: K.
    """
    views = way_views(asymmetric(1), asymmetric(2), paths.PATHS[family], count)
    return _imagenet(_vit("small", 512, 256), _VICREG, views, 1e-4, 800, 2048, count)


def blend_vicreg_vit_s16() -> Recipe:
    """VICReg + blend, ViT-S/16, ImageNet (R2 as the second paper reports it: .893 / .921 / .823 / .875)."""
    views = {"a": ViewSpec(asymmetric(1)), "b": ViewSpec(asymmetric(2))}
    return _imagenet(_vit("small", 512, 256), _VICREG, views, 1e-4, 800, 2048, 0)


def ibot_vit_s16(family: str = "rotation", count: int = 2) -> Recipe:
    """iBOT + path, ViT-S/16, ImageNet; d = 8192, a quarter of it equivariant."""
    encoder = _vit("small", 8192, 2048, pool="token", masks=True)
    base = IBOT.Config(local=_LOCAL, part="inv")
    return _imagenet(encoder, base, masked(family, count), 5e-4, 800, 1024, count)


def ibot_vit_l16(family: str = "se2", count: int = 2) -> Recipe:
    """iBOT + path, ViT-L/16, ImageNet (paper: R2 of rotation .938, of colour .943 with SE(2) ways)."""
    encoder = _vit("large", 8192, 2048, pool="token", masks=True)
    base = IBOT.Config(local=_LOCAL, part="inv")
    return _imagenet(encoder, base, masked(family, count), 5e-4, 250, 1024, count)


def dinov2_vit_l16(family: str = "se2", count: int = 2) -> Recipe:
    """DINOv2 + path, ViT-L/16, ImageNet; d = 2048, a quarter of it equivariant (paper: R2 .840 and .933).

    The learning rate of 4e-3 is taken as that of the whole batch of 2048, not per 256 images.
    """
    encoder = _vit("large", 2048, 512, pool="token", masks=True)
    base = DINOv2.Config(local=_LOCAL, part="inv")
    return _imagenet(encoder, base, masked(family, count), 4e-3 * 256 / 2048, 100, 2048, count)


def blend_3diebench() -> Recipe:
    """VICReg + blend on 3DIEBench, ResNet-18, SIE's settings; the first paper's own are unknown."""
    return Recipe(
        data=ThreeDIEBench(path="3DIEBench", paired=True),
        views={"a": ViewSpec(Identity()), "b": ViewSpec(Identity(), image="partner")},
        encoder=EncoderConfig(
            name="resnet18", parts={"inv": 256, "equi": 256}, mean=_MEAN, std=_STD, size=256
        ),
        base=_VICREG,
        modules={"blend": Weighted(module=CrossAttentionReconstruction.Config(part="equi"))},
        optimizer=Adam(lr=1e-3, weight_decay=1e-6),
        schedule=WarmupCosine(warmup_epochs=0, min_lr=1e-3),
        epochs=40,
        batch_size=1024,
        batch_norm="per_view",
        monitor_every=10,
        about="blend, a faithful reading of arXiv:2412.03314 and no reproduction, with SIE's settings; an "
        "epoch is every image with a partner, so 40 are 2,000 of the original's",
    )


def small(
    kind: Kind = "path",
    data: Data = Solids(size=32, objects=240, views=10),
    family: str = "rotation",
    count: int = 2,
    epochs: int = 60,
) -> Recipe:
    """VICReg alone, with blend, path or SIE, CPU-sized; all have the same views, encoder and steps.

    The encoder's 64 features lie on a grid of 4 x 4. They are cut in half but for VICReg alone, which takes
    them all: half of them untouched by its loss would keep what it is there to forget. Drawings weigh 10, not
    the papers' 1, which for a mean over pixels beside VICReg's 10, 10 and 1 is next to nothing.

    Args:
        kind: "base", "blend", "path", or "sie", which is told the parameters of the way.
        data: images of 32 pixels.
        family: of ``augment.paths.PATHS``; the second view is always moved by it.
        count: K, for "path".
    """
    crop, flip, jitter = RandomResizedCrop(32, scale=(0.5, 1.0)), HorizontalFlip(), ColorJitter()
    way = paths.PATHS[family]
    views = way_views(Pipeline((crop, flip, jitter)), Pipeline((crop, flip, jitter)), way, count)
    decoder = DecoderConfig(channels=(64, 32, 16))
    modules: dict[Kind, dict[str, Weighted]] = {
        "base": {},
        "blend": {
            "blend": Weighted(
                weight=10, module=CrossAttentionReconstruction.Config(part="equi", decoder=decoder)
            )
        },
        "path": {"path": Weighted(weight=10, module=_path(count, decoder))},
        "sie": {"sie": Weighted(module=_sie(way))},
    }
    base = replace(_VICREG, projector=(128, 128, 128), part="all" if kind == "base" else "inv")
    if kind == "sie":  # its own variance and covariance are of both halves side by side
        base = replace(base, variance=0, covariance=0)
    return Recipe(
        data=data,
        views={n: s for n, s in views.items() if s.encode or kind == "path"},
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
        about=f"VICReg, {kind}, second view moved by {family}; a CPU-sized setting of our own",
    )


def ibot_small(data: Data = Solids(size=32, objects=240, views=10), family: str = "rotation") -> Recipe:
    """iBOT + path with a transformer of four-pixel patches, CPU-sized; a setting of our own."""
    crop = Pipeline((RandomResizedCrop(32, scale=(0.5, 1.0)), HorizontalFlip(), ColorJitter()))
    mask = PatchMask(grid_size=8)
    views = way_views(Pipeline((crop, mask)), crop, paths.PATHS[family], 2)
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
        modules={"path": Weighted(module=_path(2, DecoderConfig(channels=(64, 32))))},
        optimizer=AdamW(lr=1e-3, weight_decay=0.04),
        schedule=WarmupCosine(warmup_epochs=2),
        epochs=16,
        batch_size=128,
        clip_gradient=3.0,
        monitor_every=0,
        about="iBOT + path; a CPU-sized setting of our own",
    )


def way_views(
    first: Augmentation, second: Augmentation, path: Augmentation, count: int = 2
) -> dict[str, ViewSpec]:
    """The views of arXiv:2503.18753: "a" by one policy, "b" by another and then ``path``, targets "way_K"."""
    b = ViewSpec(Pipeline((second, path)))
    ways = intermediate_views("b", b, paths.continuous_factors(path), count) if count else {}
    return {"a": ViewSpec(first), "b": b, **ways}


def masked(family: str, count: int) -> dict[str, ViewSpec]:
    """DINO's ten crops, the large ones with masked patches, the second one moved."""
    crops, mask = multi_crop(scale=(0.32, 1.0), local_scale=(0.05, 0.32)), PatchMask(grid_size=14)
    views = way_views(Pipeline((crops["a"], mask)), crops["b"], paths.PATHS[family], count)
    views["b"] = replace(views["b"], augment=Pipeline((views["b"].augment, mask)))
    return views | {n: ViewSpec(crops[n]) for n in _LOCAL}


_LOCAL = tuple(f"local_{k}" for k in range(1, 9))


def _path(count: int, decoder: DecoderConfig = DecoderConfig()) -> IntermediateReconstruction.Config:
    return IntermediateReconstruction.Config(
        part="equi", targets=tuple(f"intermediate_{k}" for k in range(1, count + 1)), decoder=decoder
    )


def _sie(way: Augmentation) -> SIE.Config:
    """Without bias, as the paper, where an angle is among the factors: no change of shifts alone is zeros."""
    moving = paths.continuous_factors(way)
    angles = any(isinstance(f, Circular) for f in way.space if f.name in moving)
    predictor = Hypernetwork(bias=not angles)
    return SIE.Config(part="equi", factors=moving, projector=(128, 128, 128), predictor=predictor)


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
    count: int,
) -> Recipe:
    """``lr`` is for 256 images; ``count`` 0 is the blend."""
    module = Weighted(module=_path(count) if count else CrossAttentionReconstruction.Config(part="equi"))
    return Recipe(
        data=ImageFolder(path="imagenet", size=256),
        views=views,
        encoder=encoder,
        base=base,
        modules={"path" if count else "blend": module},
        optimizer=AdamW(lr=lr * batch / 256, weight_decay=0.04),
        schedule=WarmupCosine(warmup_epochs=10),
        epochs=epochs,
        batch_size=batch,
        batch_norm="per_view",
        precision="bf16-mixed",
        clip_gradient=3.0,
        about="path (arXiv:2503.18753)" if count else "blend, a faithful reading of arXiv:2412.03314",
    )
