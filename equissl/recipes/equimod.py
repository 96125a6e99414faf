"""EquiMod on SimCLR and BYOL with the settings of its released code, and baselines (arXiv:2211.01244).

Three things differ from the released code. The predictor reads named numbers (``NamedLayout``: each factor
by itself, crops as fractions of the image), where the original reads an anonymous vector of raw pixels, flags
and positions; ``simclr_cifar10_legacy``, ``byol_cifar10_legacy`` and ``with_legacy_layout`` have that one.
Training is in single precision, not float16, and ImageNet's images are stored as centre-cropped squares.
Of the baselines, SimCLR* and BYOL*, no settings and no code were published: theirs are inferred, the EquiMod
recipe without its plain view and its module.

Top-1 of a linear probe, as the authors report it (the paper's numbers, not ours): CIFAR-10, 800 epochs:
SimCLR 90.96, + EquiMod 92.79; BYOL 90.44, + EquiMod 91.57. ImageNet: SimCLR 71.57, + EquiMod 72.30; BYOL
74.03, + EquiMod 73.22 (1000 epochs).
"""

from __future__ import annotations

from dataclasses import replace

from equissl.augment import presets
from equissl.augment.base import Augmentation, Identity
from equissl.augment.equimod_params import Count, equimod_statistics
from equissl.augment.geometry.resize import Resize
from equissl.data.image_folder import ImageFolder
from equissl.data.torchvision_sets import Cifar10
from equissl.encoder.backbone import CIFAR10, EncoderConfig
from equissl.equivariance.equimod import EquiMod, LegacyLayout
from equissl.invariance.byol import BYOL
from equissl.invariance.simclr import SimCLR
from equissl.recipe import Recipe, Weighted
from equissl.training.optim import LARS, WarmupCosine
from equissl.views import ViewSpec

_SMALL = EncoderConfig(name="resnet18", stem="small", mean=CIFAR10[0], std=CIFAR10[1], size=32)
_LARGE = EncoderConfig(name="resnet50", size=224)
_NAMED = "named numbers instead of the original's vector"
_IMAGENET = ImageFolder(path="imagenet", size=256, labels="folders")


def baseline_simclr_cifar10() -> Recipe:
    """SimCLR on CIFAR-10, EquiMod's baseline; settings are inferred; the paper reports 90.96 top-1."""
    view = ViewSpec(presets.equimod_simclr_cifar10())
    return Recipe(
        data=Cifar10(path="data"),
        views={"a": view, "b": view},
        encoder=_SMALL,
        base=SimCLR.Config(temperature=0.5),
        optimizer=LARS(lr=4.0, weight_decay=1e-6),
        schedule=WarmupCosine(warmup_epochs=10),
        epochs=800,
        batch_size=512,
        monitor_every=10,
        about="EquiMod's SimCLR*, arXiv:2211.01244; settings are inferred; the paper's top-1: 90.96",
    )


def simclr_cifar10() -> Recipe:
    """SimCLR + EquiMod on CIFAR-10; the paper reports 92.79 top-1."""
    return _with_equimod(baseline_simclr_cifar10(), "the paper's top-1: 92.79")


def baseline_byol_cifar10() -> Recipe:
    """BYOL on CIFAR-10, EquiMod's baseline; settings are inferred; the paper reports 90.44 top-1."""
    return replace(
        baseline_simclr_cifar10(),
        views={"a": ViewSpec(presets.equimod_byol(1, 32)), "b": ViewSpec(presets.equimod_byol(2, 32))},
        base=BYOL.Config(),
        optimizer=LARS(lr=2.0, weight_decay=1e-6),
        about="EquiMod's BYOL*, arXiv:2211.01244; settings are inferred; the paper's top-1: 90.44",
    )


def byol_cifar10() -> Recipe:
    """BYOL + EquiMod on CIFAR-10; the paper reports 91.57 top-1."""
    return _with_equimod(baseline_byol_cifar10(), "the paper's top-1: 91.57")


def baseline_simclr_imagenet() -> Recipe:
    """SimCLR on ImageNet, EquiMod's baseline; settings are inferred; the paper reports 71.57 top-1."""
    view = ViewSpec(presets.equimod_simclr_imagenet())
    return replace(
        baseline_simclr_cifar10(),
        data=_IMAGENET,
        views={"a": view, "b": view},
        encoder=_LARGE,
        base=SimCLR.Config(temperature=0.2),
        optimizer=LARS(lr=2.4, weight_decay=1e-6),
        batch_size=4096,
        about="EquiMod's SimCLR*, arXiv:2211.01244; settings are inferred; the paper's top-1: 71.57",
    )


def simclr_imagenet() -> Recipe:
    """SimCLR + EquiMod on ImageNet; the paper reports 72.30 top-1."""
    return _with_equimod(baseline_simclr_imagenet(), "the paper's top-1: 72.30", Resize(224, short_side=256))


def baseline_byol_imagenet() -> Recipe:
    """BYOL on ImageNet, EquiMod's baseline, 1000 epochs; settings inferred; the paper reports 74.03 top-1."""
    return replace(
        baseline_simclr_imagenet(),
        views={"a": ViewSpec(presets.equimod_byol(1, 224)), "b": ViewSpec(presets.equimod_byol(2, 224))},
        base=BYOL.Config(),
        optimizer=LARS(lr=4.8, weight_decay=1.5e-6),
        epochs=1000,
        about="EquiMod's BYOL*, arXiv:2211.01244; settings are inferred; the paper's top-1: 74.03",
    )


def byol_imagenet() -> Recipe:
    """BYOL + EquiMod on ImageNet, 1000 epochs; the paper reports 73.22 top-1, below its baseline."""
    return _with_equimod(baseline_byol_imagenet(), "the paper's top-1: 73.22", Resize(224, short_side=256))


def simclr_cifar10_legacy() -> Recipe:
    """SimCLR + EquiMod with the original's 15 anonymous numbers, standardised in closed form."""
    return with_legacy_layout(simclr_cifar10(), 15, 32)


def byol_cifar10_legacy() -> Recipe:
    """BYOL + EquiMod with the original's 18 anonymous numbers, standardised in closed form."""
    return with_legacy_layout(byol_cifar10(), 18, 32)


def simclr_cifar10_small() -> Recipe:
    """SimCLR + EquiMod at the size of a CPU: a thin ResNet-10, 20 epochs; not the paper's setting."""
    recipe = simclr_cifar10()
    return replace(
        recipe,
        encoder=replace(_SMALL, name="resnet10t", options={"channels": (32, 64, 128, 256), "stem_width": 16}),
        base=SimCLR.Config(projector=(256, 128), temperature=0.5),
        modules={"equimod": Weighted(module=EquiMod.Config(projector=(256, 128)))},
        optimizer=LARS(lr=2.0, weight_decay=1e-6),
        schedule=WarmupCosine(warmup_epochs=1),
        epochs=20,
        batch_size=256,
        monitor_every=1,
        about="a CPU-sized variant of arXiv:2211.01244; its numbers are not comparable with the paper's",
    )


def with_legacy_layout(recipe: Recipe, count: Count, size: int) -> Recipe:
    """The same recipe whose EquiMod reads the released code's parameter vector, and says so in ``about``."""
    policies = [recipe.views[v].augment for v in ("a", "b")]
    mean, std = equimod_statistics(policies, (size, size), count)
    layout = LegacyLayout(count=count, source=(size, size), mean=mean, std=std)
    weighted = recipe.modules["equimod"]
    assert isinstance(weighted.module, EquiMod.Config)
    changed = replace(weighted, module=replace(weighted.module, layout=layout))
    about = recipe.about.replace(_NAMED, f"the original's vector of {count} numbers")
    return replace(recipe, modules={**recipe.modules, "equimod": changed}, about=about)


def _with_equimod(recipe: Recipe, reported: str, plain: Augmentation = Identity()) -> Recipe:
    """The paper's module: a third, plain view goes through the encoder with the other two."""
    return replace(
        recipe,
        views={"plain": ViewSpec(plain), **recipe.views},
        modules={"equimod": Weighted(weight=1.0, module=EquiMod.Config(temperature=0.2))},
        about=f"EquiMod, arXiv:2211.01244; {_NAMED}; {reported}",
    )
