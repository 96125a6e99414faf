"""The recipes of ``fingerprint.py``, made small, and five steps of training on them.

Names in ``RECIPES`` are fixed for ever: a recipe, class or field that is renamed keeps its case.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from equissl.augment import presets
from equissl.augment.geometry.flip import VerticalFlip
from equissl.augment.geometry.rotate import Rotate
from equissl.augment.masking.patch_mask import PatchMask
from equissl.augment.orbits import FullOrbit, QuarterTurns
from equissl.auto.default import default_recipe
from equissl.auto.requirements import build_recipe, resolve
from equissl.config import registry
from equissl.data.base import Dataset, InMemoryDataset
from equissl.data.loader import batches, batches_per_epoch
from equissl.data.solids import Solids
from equissl.data.threediebench import ThreeDIEBench
from equissl.encoder.backbone import EncoderConfig
from equissl.equivariance._parameter_targets import (
    CropDifference,
    FactorClassification,
    FactorDifference,
    FactorRegression,
    ParameterDifference,
    SameValue,
)
from equissl.equivariance.augself import AugSelf
from equissl.equivariance.equimod import EquiMod
from equissl.equivariance.essl import ESSL
from equissl.invariance._self_distillation import SelfDistillationConfig
from equissl.invariance.barlow_twins import BarlowTwins
from equissl.invariance.byol import BYOL
from equissl.invariance.dino import DINO
from equissl.invariance.dinov2 import DINOv2
from equissl.invariance.ibot import IBOT
from equissl.invariance.moco import MoCo
from equissl.invariance.moco_v3 import MoCoV3
from equissl.invariance.simclr import SimCLR
from equissl.invariance.simsiam import SimSiam
from equissl.invariance.vicreg import VICReg
from equissl.nn.predictors import Affine, ConcatenatedMLP, Hypernetwork, ResidualMLP
from equissl.params import Params, Space
from equissl.photonics.data import Crystals
from equissl.photonics.dos import Spectrum
from equissl.photonics.encoder import CrystalNet
from equissl.photonics.generate import CrystalPlan
from equissl.recipe import Recipe, Weighted
from equissl.recipes import (
    baselines,
    quickstart,
    reconstruction,
    sie,
    transformations,
)
from equissl.study.presets import grid
from equissl.training.optim import LARS, SGD, Adam, AdamW, WarmupCosine, parameter_groups
from equissl.views import SameAs, ViewSpec, make_views

SIDE, COUNT, BATCH, STEPS = 32, 24, 8, 5
CROP = ("crop_top", "crop_left", "crop_height", "crop_width")
Make = Callable[[], Recipe]


# --- data -------------------------------------------------------------------------------------------------


def images(count: int = COUNT, side: int = SIDE, channels: int = 3) -> torch.Tensor:
    """Smooth colour images with some noise, uint8, the same on every call."""
    generator = torch.Generator().manual_seed(7)
    coarse = torch.rand(count, channels, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear", align_corners=False)
    noise = torch.rand(count, channels, side, side, generator=generator)
    return ((0.85 * smooth + 0.15 * noise) * 255).to(torch.uint8)


@functools.cache
def photos(side: int = SIDE, count: int = COUNT) -> InMemoryDataset:
    """Generated images of three classes with no known factors."""
    nothing = Params.of(Space(), {}, count=count)
    return InMemoryDataset(images(count, side), nothing, torch.arange(count) % 3, ("a", "b", "c"))


def solids(rotations: Any = "3diebench", split: Any = "train", objects: int = 8) -> Any:
    return Solids(size=24, objects=objects, views=4, paired=True, rotations=rotations, seed=2).open(split)


def spectrum(**changes: Any) -> Spectrum:
    return Spectrum(
        **{"order": 2, "grid": 5, "bands": 6, "sigma": 0.05, "frequencies": 60, "kept": 40, **changes}
    )


@functools.cache
def crystals(kind: str, folder: Path) -> Dataset:
    plan = CrystalPlan(kind=kind, count=COUNT + 6, labelled=0)
    return Crystals(path=str(folder / f"{kind}.safetensors"), plan=plan, test_size=6).open("train")


def dataset_for(recipe: Recipe, folder: Path) -> Dataset:
    """A tiny dataset that knows what the recipe's own does."""
    paired = any(spec.image == "partner" for spec in recipe.views.values())
    if paired or isinstance(recipe.data, Solids | ThreeDIEBench):
        return Solids(size=SIDE, objects=COUNT // 2, views=2, paired=paired).open("train")
    if isinstance(recipe.data, Crystals):
        return crystals("blob" if "blob" in recipe.data.path else "gpm", folder)
    return photos()


# --- making recipes small ---------------------------------------------------------------------------------


def _numbers(value: Any, change: Callable[[int], int]) -> Any:
    """A copy of nested dataclasses, mappings and tuples with every whole number changed."""
    if isinstance(value, bool | float | str) or value is None:
        return value
    if isinstance(value, int):
        return change(value)
    if isinstance(value, PatchMask):
        return replace(value, grid_size=4)
    if isinstance(value, tuple):
        return tuple(_numbers(v, change) for v in value)
    if isinstance(value, Mapping):
        return {k: _numbers(v, change) for k, v in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f.name for f in dataclasses.fields(value) if f.init]
        return replace(value, **{n: _numbers(getattr(value, n), change) for n in fields})
    return value


def _narrow(width: int) -> int:
    return 24 if width > 64 else width


def _low(pixels: int) -> int:
    return pixels if pixels <= 64 else SIDE if pixels >= 160 else SIDE // 2


def _small_encoder(recipe: Recipe) -> Any:
    config = recipe.encoder
    parts = {name: 24 // len(config.parts) for name in config.parts}
    if not isinstance(config, EncoderConfig):
        return CrystalNet.Config(channels=(4, 8, 8), hidden=(16, 16), kernel=3)
    if config.name.startswith("vit"):
        own = ("global_pool", "fc_norm", "dynamic_img_size")
        options = {k: v for k, v in config.options.items() if k in own}
        options |= {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
        name, width = "vit_tiny_patch16_224", 24 if config.width else 0
        return replace(config, name=name, options=options, parts=parts, size=SIDE, width=width)
    options = {"channels": (8, 8, 16, 24), "stem_width": 8} | ({"output_stride": 8} if parts else {})
    return replace(config, name="resnet10t", options=options, parts=parts, size=_low(config.size))


def small(recipe: Recipe) -> Recipe:
    """The same recipe with narrow heads, a tiny encoder, low resolution, and six steps in two epochs."""
    return replace(
        recipe,
        views=_numbers(recipe.views, _low),
        encoder=_small_encoder(recipe),
        base=_numbers(recipe.base, _narrow),
        modules=_numbers(recipe.modules, _narrow),
        schedule=replace(recipe.schedule, warmup_epochs=min(1, recipe.schedule.warmup_epochs)),
        epochs=2,
        batch_size=BATCH,
        precision="32-true",
        engine="torch" if recipe.engine == "auto" else recipe.engine,
    )


# --- five steps -------------------------------------------------------------------------------------------


def train(recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    """Loss terms of every step, and weights and optimiser state after the last, in their own order."""
    torch.manual_seed(recipe.seed)
    model = recipe.build(dataset.spaces)
    if recipe.channels_last:
        model.to(memory_format=torch.channels_last)
    optimizer = recipe.optimizer.build(parameter_groups(model, model.fixed_lr))
    distinct = recipe.distinct_objects
    per_epoch = batches_per_epoch(dataset, recipe.batch_size, distinct_groups=distinct)
    total, peak = per_epoch * recipe.epochs, recipe.optimizer.lr
    losses = []
    for step in range(STEPS):
        lr = recipe.schedule.lr_at(step, peak, total, per_epoch)
        for group in optimizer.param_groups:
            group["lr"] = group["lr_scale"] * (peak if group["fixed_lr"] else lr)
        epoch, start = divmod(step, per_epoch)
        source = batches(
            dataset, recipe.batch_size, recipe.seed, epoch, start, prefetch=0, distinct_groups=distinct
        )
        batch = next(source)
        terms = model(make_views(batch, recipe.views, recipe.seed, epoch, recipe.engine))
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.clip_gradient:
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_gradient)
        optimizer.step()
        model.after_step((step + 1) / total)
        losses.append([lr, *(term.detach() for term in terms.values())])
    if not all(bool(torch.as_tensor(x).isfinite()) for row in losses for x in row):
        raise RuntimeError("a loss is not finite, so this case would compare nothing")
    return {
        "losses": losses,
        "weights": list(model.state_dict().values()),
        "optimizer": optimizer_state(optimizer),
    }


def optimizer_state(optimizer: torch.optim.Optimizer) -> list[Any]:
    params = [p for group in optimizer.param_groups for p in group["params"]]
    return [list(optimizer.state[p].values()) for p in params if p in optimizer.state]


# --- what is trained --------------------------------------------------------------------------------------


def _base(config: Any, **changes: Any) -> Recipe:
    return replace(baselines.simclr_cifar10_small(), base=config, **changes)


def _crops(config: Any) -> Recipe:
    return replace(baselines.dino_cifar10_small(), base=config)


def _with(module: Any, weight: float = 1.0, **changes: Any) -> Recipe:
    """SimCLR on photographs with one module; there is a plain view for those that read one."""
    start = baselines.simclr_cifar10_small()
    views = {"plain": ViewSpec(), **start.views} if "plain" in module.reads() else start.views
    modules = {"module": Weighted(weight=weight, module=module)}
    return replace(start, **{"views": views, "modules": modules, **changes})


def _masked(base: Any) -> Recipe:
    return replace(reconstruction.ibot_small(), base=base)


def _equimod(**changes: Any) -> Recipe:
    return _with(EquiMod.Config(**{"projector": (64, 24), "predictor": Affine(parameter_width=8), **changes}))


def _changed(recipe: Recipe, name: str, changes: Mapping[str, Any]) -> Recipe:
    weighted: Any = recipe.modules[name]
    return replace(recipe, modules={name: replace(weighted, module=replace(weighted.module, **changes))})


def _sie(**changes: Any) -> Recipe:
    return _changed(sie.sie_solids(), "sie", changes)


def _cross_attention(**changes: Any) -> Recipe:
    return _changed(reconstruction.small("cross_attention"), "cross_attention", changes)


def _intermediate(**changes: Any) -> Recipe:
    return _changed(reconstruction.small("intermediate"), "intermediate", changes)


def _transform(target: Any, orbit: Any, **changes: Any) -> Recipe:
    start = baselines.simclr_cifar10_small()
    augment = presets.essl_cifar10(16)
    views = {**start.views, "small": ViewSpec(augment, orbit=orbit)}
    if changes.get("source"):
        views = {**start.views, "upright": ViewSpec(augment)}
        views["small"] = ViewSpec(augment, draw=SameAs("upright"), orbit=orbit)
    module = ESSL.Config(targets={"target": target}, hidden=(24,), **changes)
    return replace(start, views=views, modules={"essl": Weighted(weight=0.4, module=module)})


def _angle(error: Any) -> Recipe:
    start = baselines.simclr_cifar10_small()
    views = {**start.views, "small": ViewSpec(Rotate((-90.0, 90.0)))}
    target = FactorRegression(factors=("rotation",), error=error)
    module = ESSL.Config(targets={"angle": target}, hidden=(24,), last_relu=False)
    return replace(start, views=views, modules={"essl": Weighted(module=module)})


def _optimized(optimizer: Any, **changes: Any) -> Recipe:
    return replace(quickstart.equivariant(), optimizer=optimizer, **changes)


def _kept(keep: tuple[str, ...], ignore: tuple[str, ...] = ()) -> Recipe:
    return build_recipe(default_recipe(), resolve(keep, ignore))


def _grid(module: str) -> Recipe:
    return grid.grid(bases=("simclr",), modules=(module,)).cells[0].recipe


def _invariant(name: str) -> Recipe:
    return transformations.invariant(transformations.baseline(), name)


def _sensitive(name: str) -> Recipe:
    return transformations.sensitive(transformations.baseline(), name)


_IBOT = SelfDistillationConfig(projector=(24, 16), num_prototypes=24, momentum=0.99)
_LOCAL = ("local_1", "local_2", "local_3", "local_4")
_JITTER = ("brightness", "contrast", "saturation", "hue")

# Cases keep the name that a recipe had when the first fingerprint was taken.
FIRST_NAMES = {
    "default.default_recipe": "photographs.default",
    "reconstruction.cross_attention_3diebench": "reconstruction.blend_3diebench",
    "reconstruction.cross_attention_vicreg_vit_s16": "reconstruction.blend_vicreg_vit_s16",
}
SHIPPED: Mapping[str, Make] = {FIRST_NAMES.get(e.name, e.name): e.value for e in registry.recipes()}

# The settings that no shipped recipe takes.
VARIANTS: Mapping[str, Make] = {
    "simclr/other_view": lambda: _base(SimCLR.Config(negatives="other_view", batch_norm="per_view")),
    "simclr/affine": lambda: _base(SimCLR.Config(output_norm="affine"), batch_norm="all_views"),
    "byol/copy_buffers": lambda: _base(BYOL.Config(copy_buffers=True, batch_norm="per_view")),
    "simsiam/cross_entropy": lambda: _base(SimSiam.Config(similarity="cross_entropy", symmetric=False)),
    "simsiam/affine": lambda: _base(SimSiam.Config(output_norm="affine", batch_norm="all_views")),
    "moco/cosine": lambda: _base(MoCo.Config(momentum_schedule="cosine", hidden_norm="batch", queue_size=20)),
    "moco/copy_buffers": lambda: _base(MoCo.Config(copy_buffers=True, batch_norm="all_views", queue_size=12)),
    "moco_v3/constant": lambda: _base(MoCoV3.Config(momentum_schedule="constant", output_norm="none")),
    "moco_v3/copy_buffers": lambda: _base(MoCoV3.Config(copy_buffers=True, output_norm="affine")),
    "barlow_twins/scale": lambda: _base(BarlowTwins.Config(scale=0.024, batch_norm="all_views")),
    "vicreg/all_views": lambda: _base(VICReg.Config(batch_norm="all_views")),
    "dino/two_views": lambda: _base(DINO.Config(prototype_norm="learned", teacher_temperature=(0.04, 0.07))),
    "dino/local": lambda: _crops(DINO.Config(local=_LOCAL, freeze_prototypes=0.5)),
    "dino/batch": lambda: _base(DINO.Config(hidden_norm="batch", batch_norm="per_view", copy_buffers=True)),
    "ibot/separate": lambda: _masked(IBOT.Config(distillation=replace(_IBOT, separate_heads=True))),
    "ibot/sinkhorn": lambda: _masked(
        IBOT.Config(distillation=replace(_IBOT, centering="sinkhorn"), part="inv")
    ),
    "ibot/learned": lambda: _masked(
        IBOT.Config(
            distillation=replace(_IBOT, prototype_norm="learned", hidden_norm="batch"), patch_weight=0.5
        )
    ),
    "dinov2/default": lambda: _masked(DINOv2.Config()),
    "dinov2/center": lambda: _masked(
        DINOv2.Config(
            distillation=replace(_IBOT, freeze_prototypes=0.5, temperature_warmup=0.0), koleo_weight=0.0
        )
    ),
    "equimod/paper": lambda: _equimod(loss="paper"),
    "equimod/paper_positive_counts": lambda: _equimod(loss="paper_positive_counts"),
    "equimod/residual_mlp": lambda: _equimod(predictor=ResidualMLP(parameter_width=8), output_norm="affine"),
    "equimod/no_parameter_width": lambda: _equimod(predictor=Affine(parameter_width=0), output_norm="none"),
    "equimod/factors": lambda: _equimod(factors=("hue", *CROP), pairs=(("a", "b"),)),
    "equimod/concatenated": lambda: _equimod(predictor=ConcatenatedMLP(hidden=(16,))),
    "equimod/hypernetwork": lambda: _equimod(predictor=Hypernetwork(hidden=(16,), bias=True)),
    "equimod/hypernetwork_layers": lambda: _equimod(
        predictor=Hypernetwork(hidden=(8,), layers=(16,), generated_bias=True, init="original")
    ),
    "equimod/hypernetwork_linear": lambda: _equimod(
        predictor=Hypernetwork(bias=True, layers=(16,), activation=False)
    ),
    "predict_change/all_targets": lambda: _with(
        AugSelf.Config(
            targets={
                "crop": CropDifference(weight=0.5),
                "color": ParameterDifference(_JITTER, (0.8, 0.8, 0.8, 0.2)),
                "flip": SameValue("horizontal_flip", weight=0.2),
                "hue": FactorDifference(("hue", "grayscale", *CROP)),
                "encoded": FactorRegression(("brightness", "hue"), "mse"),
            },
        ),
    ),
    "predict_change/first_mirror": lambda: _with(
        AugSelf.Config(targets={"crop": CropDifference(mirror="first")}, symmetric=False, hidden=()),
        weight=0.5,
    ),
    "predict_transform/orbit": lambda: _transform(
        FactorClassification(factors=("quarter_turns",)), QuarterTurns(), last_relu=False
    ),
    "predict_transform/source": lambda: _transform(
        FactorClassification(factors=("quarter_turns",)), QuarterTurns(), source="upright"
    ),
    "predict_transform/flip": lambda: _transform(
        FactorClassification(factors=("vertical_flip",)), FullOrbit(VerticalFlip())
    ),
    "predict_transform/l1": lambda: _angle("l1"),
    "predict_transform/mse": lambda: _angle("mse"),
    "sie/own": lambda: _sie(statistics="own", batch_norm="all_views"),
    "sie/concatenated": lambda: _sie(predictor=ConcatenatedMLP()),
    "sie/hypernetwork": lambda: _sie(predictor=Hypernetwork(hidden=(8,), bias=True, layers=(16,))),
    "sie/no_covariance": lambda: _sie(covariance=0.0, predicted_variance=0.0, variance=0.0),
    "blend/r1": lambda: _cross_attention(variant="R1"),
    "blend/r2": lambda: _cross_attention(variant="R2", residual=False),
    "blend/r3_linear": lambda: _cross_attention(projections="linear", num_heads=2, hidden=(16,)),
    "blend/r4": lambda: _cross_attention(variant="R4", context_part="inv"),
    "blend/pooled": lambda: _cross_attention(tokens="pooled", targets="first"),
    "blend/sum": lambda: _cross_attention(targets="second", space="unit", reduction="sum", part="all"),
    "path/sum": lambda: _intermediate(space="unit", reduction="sum", part="all"),
    "path/one": lambda: reconstruction.small("intermediate", family="se2", num_targets=1),
    "path/color": lambda: reconstruction.small("intermediate", family="color", num_targets=3),
    "path/blur": lambda: reconstruction.small("intermediate", family="blur"),
    "path/translation": lambda: reconstruction.small("intermediate", family="translation"),
    "reconstruction/base": lambda: reconstruction.small("base"),
    "reconstruction/blend": lambda: reconstruction.small("cross_attention"),
    "reconstruction/sie": lambda: reconstruction.small("sie"),
    "reconstruction/sie_se2": lambda: reconstruction.small("sie", family="se2"),
    "sie/on_solids_vicreg": lambda: sie.on_solids(sie.vicreg()),
    "sie/on_solids_augself": lambda: sie.on_solids(sie.simclr_augself()),
    "optimizer/sgd": lambda: _optimized(SGD(nesterov=True)),
    "optimizer/adam": lambda: _optimized(Adam(weight_decay=1e-4)),
    "optimizer/adamw": lambda: _optimized(
        AdamW(betas=(0.9, 0.95)),
        schedule=WarmupCosine(update_every="epoch", warmup_epochs=0, final_lr_ratio=0.1),
    ),
    "optimizer/lars": lambda: _optimized(LARS(lr=0.5), schedule=WarmupCosine(min_lr=1e-3)),
    "optimizer/lars_directions": lambda: _optimized(
        LARS(lr=0.5, bias_lr=0.01, lr_in_buffer=False, weight_decay=1e-3, trust_coefficient=0.02)
    ),
    "batch_norm/per_view": lambda: replace(quickstart.equivariant(), batch_norm="per_view", seed=3),
    "memory/contiguous": lambda: replace(quickstart.invariant(), channels_last=False, clip_gradient=0.5),
    "keep/hue_crop": lambda: _kept(("hue", "crop")),
    "keep/rotation": lambda: _kept(("rotation", "brightness"), ("crop",)),
    "keep/turns": lambda: _kept(("horizontal_flip", "vertical_flip", "quarter_turns")),
    "keep/pixels": lambda: _kept(("grayscale", "solarize", "invert", "blur", "contrast")),
    "keep/nothing": lambda: _kept((), ("crop", "solarize", "blur", "vertical_flip", "invert")),
    "grid/equimod": lambda: _grid("equimod"),
    "grid/augself": lambda: _grid("augself"),
    "grid/essl": lambda: _grid("essl"),
    "study/invariant_horizontal_flip": lambda: _invariant("horizontal_flip"),
    "study/invariant_grayscale": lambda: _invariant("grayscale"),
    "study/invariant_rotation": lambda: _invariant("rotation"),
    "study/invariant_jigsaw": lambda: _invariant("jigsaw"),
    "study/invariant_blur": lambda: _invariant("blur"),
    "study/sensitive_grayscale": lambda: _sensitive("grayscale"),
    "study/sensitive_vertical_flip": lambda: _sensitive("vertical_flip"),
    "study/sensitive_jigsaw": lambda: _sensitive("jigsaw"),
    "study/sensitive_blur": lambda: _sensitive("blur"),
    "study/sensitive_inversion": lambda: _sensitive("inversion"),
    "study/sensitive_half_swap": lambda: _sensitive("half_swap"),
    "study/sensitive_solarize": lambda: _sensitive("solarize"),
}

NATIVE: Mapping[str, Make] = {
    "native/quickstart.equivariant": lambda: replace(quickstart.equivariant(), engine="native"),
    "native/dino_cifar10_small": lambda: replace(baselines.dino_cifar10_small(), engine="native"),
}
