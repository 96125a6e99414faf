"""The laws of equissl.testing on everything found by walking the package: a new file is tested at once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from equissl.augment import presets
from equissl.augment.base import Augmentation
from equissl.augment.equimod_params import equimod_statistics
from equissl.config import registry
from equissl.config.registry import Entry
from equissl.config.serialize import from_dict, to_dict
from equissl.data.base import Data
from equissl.data.solids import Solids
from equissl.encoder.backbone import BackboneConfig, EncoderConfig
from equissl.equivariance.equimod import EquiMod, LegacyLayout, NamedLayout
from equissl.evaluate import protocol
from equissl.evaluate.audit.factors import _CropInPlace
from equissl.evaluate.base import Downstream, Evaluation
from equissl.evaluate.context import EncoderEvaluation
from equissl.objective import Base, Equivariance
from equissl.recipe import Recipe, check_views
from equissl.recipes import equimod, reconstruction
from equissl.testing.augment import check_augmentation
from equissl.testing.data import check_dataset
from equissl.testing.encoder_evaluation import check_encoder_evaluation
from equissl.testing.evaluation import check_evaluation

AUGMENTATIONS = registry.subclasses(Augmentation)
DATASETS = registry.subclasses(Data)
EVALUATIONS = registry.subclasses(Evaluation)
INSPECTIONS = registry.subclasses(EncoderEvaluation)
RECIPES = registry.recipes()


# What a seed means depends on these: a renamed class keeps its stream's name, a new one adds a line.
STREAM_NAMES = [
    "Affine",
    "AugMix",
    "AutoContrast",
    "Blur",
    "BlurLevels",
    "ChannelPermutation",
    "ColorJitter",
    "Crop",
    "EitherFlip",
    "Equalize",
    "FromTorchvision",
    "Gamma",
    "GaussianNoise",
    "Grayscale",
    "HalfRoll",
    "HalfSwap",
    "HorizontalFlip",
    "Identity",
    "Invert",
    "Jigsaw",
    "Normalize",
    "PatchMask",
    "Perspective",
    "Pipeline",
    "Posterize",
    "QuarterTurn",
    "RandAugment",
    "RandomElement",
    "RandomErasing",
    "Renamed",
    "Resize",
    "Roll",
    "Rotate",
    "SE2",
    "Scale",
    "Sharpness",
    "Shear",
    "Solarize",
    "SolarizeLevels",
    "SolarizeThreshold",
    "Translate",
    "VerticalFlip",
]
# Users write these in commands, and studies in their tables.
EVALUATION_NAMES = [
    "alignment",
    "augmentedprobe",
    "collapse",
    "composition",
    "equivariance",
    "factors",
    "families",
    "fewshot",
    "finetune",
    "homography",
    "knn",
    "linearmaps",
    "linearprobe",
    "objectprobe",
    "relativefactors",
    "retrieval",
    "sensitivity",
    "sensitivitycurves",
    "sgdprobe",
]


def named(entry: Entry) -> str:
    return entry.name


COUNTS = {
    "Base": 10,
    "Equivariance": 6,
    "Augmentation": 42,
    "Data": 8,
    "Evaluation": 7,
    "EncoderEvaluation": 7,
}


def test_the_package_offers_what_it_offered_before_the_restructuring() -> None:
    kinds = (Base, Equivariance, Augmentation, Data, Evaluation, EncoderEvaluation)
    found = {kind.__name__: len(registry.subclasses(kind)) for kind in kinds}
    assert all(found[name] >= least for name, least in COUNTS.items()), found
    assert len(registry.recipes()) >= 78 and len(registry.studies()) >= 6


def test_something_was_found() -> None:
    assert len(AUGMENTATIONS) >= 15 and len(DATASETS) >= 6 and len(RECIPES) >= 15
    assert len(EVALUATIONS) >= 7 and len(INSPECTIONS) >= 4


def test_names_that_numbers_and_commands_depend_on_stay() -> None:
    assert sorted(e.value.stream_name for e in AUGMENTATIONS) == sorted(STREAM_NAMES)
    assert _CropInPlace.stream_name == "CropInPlace"
    assert sorted(protocol.available()) == EVALUATION_NAMES
    assert [e.name for e in protocol.entries(Downstream)] == ["finetunespectra"]


@pytest.mark.parametrize("entry", AUGMENTATIONS, ids=named)
def test_augmentations(entry: Entry) -> None:
    check_augmentation(entry.value.example(), size=(24, 24))


@pytest.mark.parametrize("entry", DATASETS, ids=named)
def test_datasets(entry: Entry, tmp_path: Path) -> None:
    check_dataset(entry.value.example(tmp_path / "law"), tmp_path / "law")


@pytest.mark.parametrize("entry", EVALUATIONS, ids=named)
def test_evaluations(entry: Entry) -> None:
    check_evaluation(entry.value.example())


@pytest.mark.parametrize("entry", INSPECTIONS, ids=named)
def test_inspections(entry: Entry) -> None:
    check_encoder_evaluation(entry.value.example())


@pytest.mark.parametrize("entry", RECIPES, ids=named)
def test_recipes(entry: Entry) -> None:
    recipe = entry.value()
    assert isinstance(recipe, Recipe) and recipe.about and entry.line
    assert from_dict(json.loads(json.dumps(to_dict(recipe))), Recipe) == recipe
    check_views(recipe, recipe.data.spaces)
    model = replace(recipe, encoder=_small_encoder(recipe.encoder)).build(recipe.data.spaces)
    assert sum(p.numel() for p in model.parameters()) > 0


def _small_encoder(encoder: BackboneConfig) -> BackboneConfig:
    if not isinstance(encoder, EncoderConfig):
        return encoder
    parts = {n: 96 // len(encoder.parts) for n in encoder.parts}
    if encoder.width:  # a linear layer of the recipe's own width follows
        parts = dict(encoder.parts)
    if encoder.mask_token:
        options = {"patch_size": encoder.options.get("patch_size", 16)}
        return replace(encoder, name="test_vit", options=options)
    return replace(encoder, name="test_resnet", stem="timm", options={}, size=32, parts=parts)


def test_partners_are_other_images_of_the_same_object() -> None:
    data = Solids(size=8, objects=12, views=3, paired=True).open("train")
    index = torch.arange(len(data))
    for epoch in range(4):
        partners = data.sample_partners(index, epoch)
        assert torch.equal(data.groups[partners], data.groups) and (partners != index).all()
    assert not torch.equal(data.sample_partners(index, 0), data.sample_partners(index, 1))


def test_equimod_statistics_are_the_papers_constants() -> None:
    """Every entry of SimCLR, CIFAR-10 (specs 1.5) but the crop, in closed form; the crop by simulation."""
    mean, deviation = equimod_statistics([presets.equimod_simclr_cifar10()] * 2, (32, 32), 15)
    wanted_mean = [0.5, 0.8, 1.2, 1.4, 1.6, 1.8, 1.0, 1.0, 1.0, 0.0, 0.2]
    wanted_deviation = [0.5, 0.4, 1.1662, 1.0198, 1.0198, 1.1662, 0.2066, 0.2066, 0.2066, 0.0516, 0.4]
    assert mean[4:] == pytest.approx(wanted_mean, abs=1e-3)
    assert deviation[4:] == pytest.approx(wanted_deviation, abs=1e-3)
    assert mean[:4] == pytest.approx([4.31, 4.32, 23.37, 23.37], rel=0.01)
    recipe = equimod.simclr_cifar10_legacy()
    module = recipe.modules["equimod"].module
    assert isinstance(module, EquiMod.Config) and isinstance(module.layout, LegacyLayout)


def test_byol_views_pool_their_policies() -> None:
    views = [presets.equimod_byol(1, 32), presets.equimod_byol(2, 32)]
    mean, deviation = equimod_statistics(views, (32, 32), 18)
    assert mean[15] == pytest.approx(0.55, abs=1e-3) and deviation[15] == pytest.approx(0.497, abs=1e-3)
    assert mean[16] == pytest.approx(0.5775, abs=1e-3) and deviation[16] == pytest.approx(0.662, abs=1e-3)
    assert mean[17] == pytest.approx(0.10, abs=1e-3) and deviation[17] == pytest.approx(0.30, abs=1e-3)


def test_equimod_recipes_say_how_they_differ_from_the_released_code() -> None:
    named = [
        equimod.simclr_cifar10(),
        equimod.byol_cifar10(),
        equimod.simclr_imagenet(),
        equimod.byol_imagenet(),
    ]
    for recipe in named:
        module = recipe.modules["equimod"].module
        assert isinstance(module, EquiMod.Config) and isinstance(module.layout, NamedLayout)
        assert "named numbers" in recipe.about
    for legacy, count in ((equimod.simclr_cifar10_legacy(), 15), (equimod.byol_cifar10_legacy(), 18)):
        module = legacy.modules["equimod"].module
        assert isinstance(module, EquiMod.Config) and isinstance(module.layout, LegacyLayout)
        assert module.layout.count == count
        assert "named numbers" not in legacy.about and f"vector of {count} numbers" in legacy.about
    baselines = [e.value() for e in RECIPES if e.name.startswith("equimod.baseline_")]
    assert len(baselines) == 4 and all("settings are inferred" in r.about for r in baselines)


def test_recipes_of_reconstruction_state_the_tables_r2() -> None:
    """arXiv:2503.18753, table 4, + TIR(all, SE(2)): rotation and colour."""
    for recipe, rotation, color in (("ibot", ".937", ".943"), ("dinov2", ".840", ".933")):
        documented = getattr(reconstruction, f"{recipe}_vit_l16").__doc__
        assert f"R2: {rotation} (rotation), {color} (colour)" in documented
