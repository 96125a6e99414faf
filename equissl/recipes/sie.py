"""SIE and the other rows of its table with the settings of the released code (arXiv:2302.10283).

The paper's numbers are not quoted here: they could not be checked against its PDF. Deviations: an epoch here
is every image with a partner, 50 times the original's one pair per object, so 40 epochs are its 2,000; the
960 objects of a round that fill no batch of 1,024 are left out; single precision instead of float16; a
torchvision-like ResNet-18 instead of the original's own (its stride is on the second convolution); EquiMod's
term, whose weight the code leaves open, has weight 1. On Solids also: circular hues and canonical
quaternions, a hypernetwork that starts as the identity, and batches of any images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from equissl.augment.base import Identity, Pipeline
from equissl.augment.color.color_jitter import ColorJitter
from equissl.augment.filters.gaussian_blur import GaussianBlur
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.data.image_folder import ImageFolder
from equissl.data.image_table import ImageTable
from equissl.data.solids import Solids
from equissl.data.tables.factors import MeasuredFactor
from equissl.data.tables.schema import TableSchema
from equissl.data.threediebench import ThreeDIEBench
from equissl.encoder.backbone import EncoderConfig
from equissl.equivariance._parameter_targets import FactorRegression
from equissl.equivariance.augself import AugSelf
from equissl.equivariance.equimod import EquiMod
from equissl.equivariance.sie import SIE
from equissl.invariance.simclr import SimCLR
from equissl.invariance.vicreg import VICReg
from equissl.nn.predictors import AnyPredictor, ConcatenatedMLP, Hypernetwork
from equissl.objective import BaseConfig
from equissl.params import Circular
from equissl.recipe import Recipe, Weighted
from equissl.training.optim import Adam, AdamW, WarmupCosine
from equissl.views import ViewSpec

_POSE = ("pose",)
_COLORS = ("pose", "floor_hue", "light_hue")
_MEAN, _STD = (0.5016, 0.5037, 0.5060), (0.1030, 0.0999, 0.0969)
_WIDE = (2048, 2048, 2048)
_HALF = (1024, 1024, 1024)
_LR = 1e-3
_SPLIT = {"inv": 256, "equi": 256}

_VICREG = VICReg.Config(projector=_WIDE, invariance=10, variance=10, covariance=1)
_SIMCLR = SimCLR.Config(
    projector=_WIDE, output_norm="none", output_bias=False, batch_norm="per_view", temperature=0.1
)
_HYPERNETWORK = Hypernetwork(init="original")
# Of the invariant half; SIE takes variance and covariance of both halves side by side.
_INVARIANT_HALF = VICReg.Config(projector=_HALF, invariance=10, variance=0, covariance=0, part="inv")


def vicreg() -> Recipe:
    """VICReg on 3DIEBench."""
    return _recipe(_VICREG)


def simclr() -> Recipe:
    """SimCLR on 3DIEBench."""
    return _recipe(_SIMCLR)


def simclr_augself() -> Recipe:
    """SimCLR + AugSelf on 3DIEBench: the relative pose is predicted from both images' features."""
    return _recipe(_SIMCLR, {"augself": _augself(_POSE)})


def vicreg_augself() -> Recipe:
    """VICReg + AugSelf on 3DIEBench, which the released code lacks."""
    return _recipe(_VICREG, {"augself": _augself(_POSE)})


def equimod() -> Recipe:
    """SimCLR + EquiMod on 3DIEBench with its own predictor, a linear layer on [change, embedding]."""
    return _recipe(_SIMCLR, {"equimod": _equimod(ConcatenatedMLP())})


def equimod_hypernetwork() -> Recipe:
    """SimCLR + EquiMod on 3DIEBench with SIE's predictor."""
    return _recipe(_SIMCLR, {"equimod": _equimod(_HYPERNETWORK)})


def vicreg_equimod() -> Recipe:
    """VICReg-based EquiMod on 3DIEBench: a second projector of all features, with statistics of its own."""
    equi = SIE.Config(
        factors=_POSE,
        projector=_WIDE,
        predictor=_HYPERNETWORK,
        equivariance=10,
        predicted_variance=0,
        statistics="own",
        part="all",
    )
    return _recipe(_VICREG, {"equimod": Weighted(weight=0.45, module=equi)})


def only_equivariance_contrastive() -> Recipe:
    """Only the contrastive equivariance term on 3DIEBench, no invariance: SEN."""
    return _recipe(None, {"sen": _equimod(_HYPERNETWORK)})


def only_equivariance_vicreg() -> Recipe:
    """Only SIE's equivariant terms on 3DIEBench, on all features, no invariance."""
    equi = SIE.Config(
        factors=_POSE,
        projector=_WIDE,
        predictor=_HYPERNETWORK,
        equivariance=10,
        statistics="own",
        part="all",
    )
    return _recipe(None, {"sie": Weighted(module=equi)})


def sie() -> Recipe:
    """SIE on 3DIEBench: half of the features invariant, half equivariant to the pose."""
    return _sie(SIE.Config(factors=_POSE, predictor=_HYPERNETWORK))


def sie_color() -> Recipe:
    """SIE on 3DIEBench, equivariant to the pose, the floor's and the light's hue."""
    return _sie(SIE.Config(factors=_COLORS, predictor=_HYPERNETWORK))


def sie_without_predictor_variance() -> Recipe:
    """SIE on 3DIEBench without the variance term on the predictor's output."""
    return _sie(SIE.Config(factors=_POSE, predictor=_HYPERNETWORK, predicted_variance=0))


def sie_photographs() -> Recipe:
    """SIE on photographs: equivariant to crop, jitter and blur; a setting of our own, not the paper's."""
    policy = Pipeline(
        (
            RandomResizedCrop(96, scale=(0.2, 1.0)),
            ColorJitter(0.4, 0.4, 0.4, hue=0.1),
            GaussianBlur(kernel_size=9, sigma=(0.1, 2.0)),
        )
    )
    equi = SIE.Config(predictor=Hypernetwork(bias=True))
    return replace(
        _sie(equi),
        data=ImageFolder(path="photos", size=112),
        views={"a": ViewSpec(policy), "b": ViewSpec(policy)},
        encoder=EncoderConfig(name="resnet18", parts=_SPLIT, size=96),
        batch_size=256,
        distinct_objects=False,
        epochs=200,
        about="SIE (arXiv:2302.10283) on photographs; a setting of our own",
    )


def sie_solids() -> Recipe:
    """SIE on the built-in Solids at the size of a CPU, for pose and hues; not the paper's setting."""
    return on_solids(sie_color())


def sie_measured() -> Recipe:
    """SIE on a table of images, equivariant to all that it measures; at the size of a CPU."""
    return _on_table(sie_solids())


def equimod_measured() -> Recipe:
    """SimCLR + EquiMod on a table of images, equivariant to all that it measures; at the size of a CPU."""
    return _on_table(on_solids(equimod_hypernetwork()))


def on_solids(recipe: Recipe) -> Recipe:
    """Any row of the table on Solids with a thin ResNet-10, all widths an eighth, for a CPU."""
    parts = {"inv": 32, "equi": 32} if recipe.encoder.parts else {}
    modules = {n: replace(w, module=_narrow(w.module)) for n, w in recipe.modules.items()}
    return replace(
        recipe,
        data=Solids(size=32, objects=480, views=10, paired=True),
        encoder=EncoderConfig(
            name="resnet10t", options={"channels": (32, 64, 64, 64), "stem_width": 16}, parts=parts, size=32
        ),
        base=None if recipe.base is None else _narrow(recipe.base),
        modules=modules,
        optimizer=AdamW(lr=2e-3, weight_decay=1e-3),
        schedule=WarmupCosine(warmup_epochs=1),
        epochs=16,
        batch_size=128,
        distinct_objects=False,
        monitor_every=4,
        about=f"{recipe.about}; a CPU-sized variant, not comparable with the paper's",
    )


def _on_table(recipe: Recipe) -> Recipe:
    """A row of the table on pairs of images of one group, such as an object's on a turntable."""
    yaw = MeasuredFactor(factor=Circular("yaw_degrees", unit="degrees", period=360), columns=("yaw_degrees",))
    modules = {n: replace(w, module=_all_factors(w.module)) for n, w in recipe.modules.items()}
    return replace(
        recipe,
        data=ImageTable(path="table.csv", size=64, schema=TableSchema(factors=(yaw,), group="object")),
        modules=modules,
        encoder=replace(recipe.encoder, size=64),
        about=f"{recipe.about}; on pairs of a table",
    )


def _recipe(base: BaseConfig | None, modules: Mapping[str, Weighted] | None = None) -> Recipe:
    return Recipe(
        data=ThreeDIEBench(path="3DIEBench", paired=True, convention="original"),
        views={"a": ViewSpec(Identity()), "b": ViewSpec(Identity(), image="partner")},
        encoder=EncoderConfig(name="resnet18", mean=_MEAN, std=_STD, size=256),
        base=base,
        modules=modules or {},
        optimizer=Adam(lr=_LR, weight_decay=1e-6),
        schedule=WarmupCosine(warmup_epochs=0, min_lr=_LR),  # from the peak to itself: constant
        epochs=40,
        batch_size=1024,
        distinct_objects=True,
        batch_norm="per_view",
        monitor_every=10,
        about="a row of SIE's table on 3DIEBench, arXiv:2302.10283",
    )


def _sie(module: SIE.Config) -> Recipe:
    recipe = _recipe(_INVARIANT_HALF, {"sie": Weighted(module=module)})
    return replace(recipe, encoder=replace(recipe.encoder, parts=_SPLIT), about="SIE, arXiv:2302.10283")


def _all_factors(config: Any) -> Any:
    """The same module, for every factor that its views record."""
    return replace(config, factors=())


def _narrow(config: Any) -> Any:
    """The same objective, heads an eighth as wide, and a hypernetwork that starts as the identity."""
    if isinstance(getattr(config, "predictor", None), Hypernetwork):
        config = replace(config, predictor=replace(config.predictor, init="identity"))
    name = "projector" if hasattr(config, "projector") else "hidden"
    return replace(config, **{name: tuple(w // 8 for w in getattr(config, name))})


def _augself(factors: tuple[str, ...]) -> Weighted:
    targets = {"change": FactorRegression(factors, "mse")}
    module = AugSelf.Config(targets=targets, hidden=(1024, 1024), hidden_norm="none", symmetric=False)
    return Weighted(module=module)


def _equimod(predictor: AnyPredictor) -> Weighted:
    module = EquiMod.Config(
        pairs=(("a", "b"),),
        factors=_POSE,
        projector=_WIDE,
        output_norm="none",
        batch_norm="per_view",
        predictor=predictor,
        temperature=0.1,
    )
    return Weighted(module=module)
