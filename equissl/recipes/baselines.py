"""Every base objective alone: CIFAR-10 at the size of a CPU and of a paper, and ImageNet.

How sure a number is stands in each recipe's ``about``: [code] read in the authors' code; [mem] a recollection
that was not checked against the PDF; [choice] ours, because the authors have no such run. SimCLR and BYOL at
the papers' sizes are ``equimod.baseline_*``.
"""

from __future__ import annotations

from dataclasses import replace

from equissl.augment import presets
from equissl.augment.base import Pipeline
from equissl.data.image_folder import ImageFolder
from equissl.data.torchvision_sets import Cifar10
from equissl.encoder.backbone import CIFAR10, EncoderConfig
from equissl.invariance.barlow_twins import BarlowTwins
from equissl.invariance.byol import BYOL
from equissl.invariance.dino import DINO
from equissl.invariance.moco import MoCo
from equissl.invariance.moco_v3 import MoCoV3
from equissl.invariance.simclr import SimCLR
from equissl.invariance.simsiam import SimSiam
from equissl.invariance.vicreg import VICReg
from equissl.objective import BaseConfig
from equissl.recipe import Recipe
from equissl.training.optim import LARS, SGD, AdamW, WarmupCosine
from equissl.views import ViewSpec

_SMALL = EncoderConfig(name="resnet18", stem="small", mean=CIFAR10[0], std=CIFAR10[1], size=32)
_THIN = {"channels": (32, 64, 128, 256), "stem_width": 16}
_CPU = "CPU-sized [choice]: a thin ResNet-10, 20 epochs; its numbers are not comparable with a paper's"


def simclr_cifar10_small() -> Recipe:
    """SimCLR on CIFAR-10 at the size of a CPU: a thin ResNet-10, 20 epochs; not a paper's setting."""
    return _cpu(SimCLR.Config(projector=(256, 128)))


def byol_cifar10_small() -> Recipe:
    """BYOL on CIFAR-10 at the size of a CPU: a thin ResNet-10, 20 epochs; not a paper's setting."""
    return _cpu(BYOL.Config(projector=(512, 128), predictor=(512, 128), momentum=0.98))


def simsiam_cifar10_small() -> Recipe:
    """SimSiam on CIFAR-10 at the size of a CPU: a thin ResNet-10, 20 epochs; not a paper's setting."""
    base = SimSiam.Config(projector=(512, 512), predictor=(128, 512))
    return replace(_cpu(base), optimizer=SGD(lr=0.06, weight_decay=5e-4))


def moco_cifar10_small() -> Recipe:
    """MoCo v2 on CIFAR-10 at the size of a CPU: a thin ResNet-10, 20 epochs; not a paper's setting."""
    return _cpu(
        MoCo.Config(projector=(256, 128), queue_size=4096, temperature=0.1, momentum=0.98, symmetric=True)
    )


def moco_v3_cifar10_small() -> Recipe:
    """MoCo v3 on CIFAR-10 at the size of a CPU: a thin ResNet-10, 20 epochs; not a paper's setting."""
    return _cpu(MoCoV3.Config(projector=(512, 128), predictor=(512, 128), temperature=0.2, momentum=0.98))


def barlow_twins_cifar10_small() -> Recipe:
    """Barlow Twins on CIFAR-10 at the size of a CPU: a thin ResNet-10, 20 epochs; not a paper's setting."""
    return _cpu(BarlowTwins.Config(projector=(512, 512)))


def vicreg_cifar10_small() -> Recipe:
    """VICReg on CIFAR-10 at the size of a CPU: a thin ResNet-10, 20 epochs; not a paper's setting."""
    return _cpu(VICReg.Config(projector=(512, 512)))


def dino_cifar10_small() -> Recipe:
    """DINO on CIFAR-10 at the size of a CPU: a thin ResNet-10, 2 + 4 crops; not a paper's setting."""
    views, local = _crops(presets.multi_crop(32, 16, 4, (0.3, 1.0), (0.08, 0.4)))
    base = DINO.Config(
        local=local, projector=(512, 128), hidden_norm="batch", num_prototypes=1024, momentum=0.98
    )
    return replace(_cpu(base), views=views)


def simsiam_cifar10() -> Recipe:
    """SimSiam on CIFAR-10: ResNet-18, 800 epochs, batch 512, two-layer projector."""
    return _cifar10(
        SimSiam.Config(projector=(2048, 2048), predictor=(512, 2048)),
        SGD(lr=0.06, weight_decay=5e-4),
        0,
        "SimSiam, arXiv:2011.10566, appendix D [mem]; heads, rate and decay as E-SSL's baseline [code]",
    )


def moco_cifar10() -> Recipe:
    """MoCo v2 on CIFAR-10 after the authors' demo: ResNet-18, queue 4096, both directions."""
    return _cifar10(
        MoCo.Config(projector=(512, 128), queue_size=4096, temperature=0.1, momentum=0.99, symmetric=True),
        SGD(lr=0.06, weight_decay=5e-4),
        0,
        "MoCo's CIFAR demo [mem] with v2's two-layer head [choice]; its split BatchNorm is absent",
    )


def moco_v3_cifar10() -> Recipe:
    """MoCo v3 on CIFAR-10: ResNet-18, 800 epochs; the authors have no such run."""
    return _cifar10(
        MoCoV3.Config(temperature=0.2, momentum=0.99), SGD(lr=0.12, weight_decay=5e-4), 10, "[choice]"
    )


def barlow_twins_cifar10() -> Recipe:
    """Barlow Twins on CIFAR-10: ResNet-18, 800 epochs; the authors have no such run."""
    return _cifar10(
        BarlowTwins.Config(projector=(2048, 2048, 2048)), LARS(lr=0.6, weight_decay=1e-4), 10, "[choice]"
    )


def vicreg_cifar10() -> Recipe:
    """VICReg on CIFAR-10: ResNet-18, 800 epochs; the authors have no such run."""
    return _cifar10(
        VICReg.Config(projector=(2048, 2048, 2048)), LARS(lr=0.6, weight_decay=1e-4), 10, "[choice]"
    )


def dino_cifar10() -> Recipe:
    """DINO on CIFAR-10: ResNet-18, 800 epochs, 2 + 4 crops; the authors have no such run."""
    views, local = _crops(presets.multi_crop(32, 16, 4, (0.3, 1.0), (0.08, 0.4)))
    base = DINO.Config(local=local, hidden_norm="batch", num_prototypes=4096, momentum=0.9995)
    recipe = _cifar10(base, AdamW(lr=1e-3, weight_decay=0.04), 10, "[choice]")
    return replace(recipe, views=views, clip_gradient=3.0)


def simsiam_imagenet() -> Recipe:
    """SimSiam on ImageNet: ResNet-50, 100 epochs, batch 512."""
    return _imagenet(
        SimSiam.Config(),
        SGD(lr=0.1, weight_decay=1e-4),
        WarmupCosine(warmup_epochs=0, min_lr=0.0),
        epochs=100,
        batch_size=512,
        about="SimSiam, arXiv:2011.10566 [code]",
    )


def moco_imagenet() -> Recipe:
    """MoCo v2 on ImageNet: ResNet-50, 200 epochs, batch 256, queue 65,536; the key's view is not encoded."""
    recipe = _imagenet(
        MoCo.Config(),
        SGD(lr=0.03, weight_decay=1e-4),
        WarmupCosine(warmup_epochs=0, min_lr=0.0),
        epochs=200,
        batch_size=256,
        about="MoCo v2, arXiv:2003.04297 [code]; without its shuffled BatchNorm",
    )
    return replace(recipe, views={**recipe.views, "b": replace(recipe.views["b"], encode=False)})


def moco_v3_imagenet() -> Recipe:
    """MoCo v3 on ImageNet: ResNet-50, 300 epochs, batch 4096; the authors report 72.8 top-1."""
    recipe = _imagenet(
        MoCoV3.Config(),
        LARS(lr=4.8, weight_decay=1e-6, lr_in_buffer=False),
        WarmupCosine(warmup_epochs=10, min_lr=0.0),
        epochs=300,
        batch_size=4096,
        about="MoCo v3, arXiv:2104.02057 [code]; the authors' top-1: 72.8",
    )
    return replace(recipe, views=_asymmetric((0.2, 1.0)))


def barlow_twins_imagenet() -> Recipe:
    """Barlow Twins on ImageNet: ResNet-50, 1000 epochs, batch 2048."""
    recipe = _imagenet(
        BarlowTwins.Config(),
        LARS(lr=1.6, weight_decay=1e-6, bias_lr=0.0384, lr_in_buffer=False),
        WarmupCosine(warmup_epochs=10, final_lr_ratio=1e-3),
        epochs=1000,
        batch_size=2048,
        about="Barlow Twins, arXiv:2103.03230 [code]",
    )
    return replace(recipe, views=_asymmetric())


def vicreg_imagenet() -> Recipe:
    """VICReg on ImageNet: ResNet-50, 1000 epochs, batch 2048."""
    recipe = _imagenet(
        VICReg.Config(),
        LARS(lr=1.6, weight_decay=1e-6, lr_in_buffer=False),
        WarmupCosine(warmup_epochs=10, final_lr_ratio=1e-3),
        epochs=1000,
        batch_size=2048,
        about="VICReg, arXiv:2105.04906 [code], epochs and views [mem]",
    )
    return replace(recipe, views=_asymmetric())


def dino_imagenet() -> Recipe:
    """DINO on ImageNet: ViT-S/16, 100 epochs, batch 512, 2 + 8 crops."""
    views, local = _crops(presets.multi_crop())
    recipe = _imagenet(
        DINO.Config(local=local),
        AdamW(lr=1e-3, weight_decay=0.04),
        WarmupCosine(warmup_epochs=10, min_lr=1e-6),
        epochs=100,
        batch_size=512,
        about="DINO, arXiv:2104.14294 [code], but constant weight decay and no stochastic depth",
    )
    encoder = EncoderConfig(name="vit_small_patch16_224", options={"dynamic_img_size": True}, size=224)
    return replace(recipe, views=views, encoder=encoder, clip_gradient=3.0, batch_norm="all_views")


def _cpu(base: BaseConfig) -> Recipe:
    recipe = _cifar10(base, AdamW(lr=2e-3, weight_decay=1e-3), 1, "")
    encoder = replace(_SMALL, name="resnet10t", options=_THIN)
    return replace(recipe, encoder=encoder, epochs=20, batch_size=256, monitor_every=1, about=_CPU)


def _cifar10(base: BaseConfig, optimizer: SGD | LARS | AdamW, warmup: float, about: str) -> Recipe:
    view = ViewSpec(presets.moco_v2(32))
    return Recipe(
        data=Cifar10(path="data"),
        views={"a": view, "b": view},
        encoder=_SMALL,
        base=base,
        optimizer=optimizer,
        schedule=WarmupCosine(warmup_epochs=warmup, min_lr=0.0),
        epochs=800,
        batch_size=512,
        batch_norm="per_view",
        monitor_every=10,
        about=about,
    )


def _imagenet(
    base: BaseConfig,
    optimizer: SGD | LARS | AdamW,
    schedule: WarmupCosine,
    *,
    epochs: int,
    batch_size: int,
    about: str,
) -> Recipe:
    view = ViewSpec(presets.moco_v2(224))
    return Recipe(
        data=ImageFolder(path="imagenet", size=256, labels="folders"),
        views={"a": view, "b": view},
        encoder=EncoderConfig(name="resnet50", size=224),
        base=base,
        optimizer=optimizer,
        schedule=schedule,
        epochs=epochs,
        batch_size=batch_size,
        batch_norm="per_view",
        precision="bf16-mixed",
        monitor_every=10,
        about=about,
    )


def _asymmetric(area: tuple[float, float] = (0.08, 1.0)) -> dict[str, ViewSpec]:
    return {"a": ViewSpec(presets.asymmetric(1, 224, area)), "b": ViewSpec(presets.asymmetric(2, 224, area))}


def _crops(policies: dict[str, Pipeline]) -> tuple[dict[str, ViewSpec], tuple[str, ...]]:
    """Views, and the names of the small ones."""
    views = {name: ViewSpec(policy) for name, policy in policies.items()}
    return views, tuple(name for name in views if name.startswith("local_"))
