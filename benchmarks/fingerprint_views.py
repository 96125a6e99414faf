"""Views, their recorded parameters, and datasets, for ``fingerprint.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import fingerprint_recipes as recipes
import torch
from torchvision.transforms import v2

from equissl.augment import (
    SE2,
    Affine,
    Augmentation,
    AugMix,
    AutoContrast,
    BlurLevels,
    ChannelPermutation,
    ColorJitter,
    EitherFlip,
    Equalize,
    FullOrbit,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    Grayscale,
    HalfRoll,
    HalfSwap,
    HorizontalFlip,
    Identity,
    Invert,
    Jigsaw,
    Normalize,
    PatchMask,
    Perspective,
    Pipeline,
    Posterize,
    Prefixed,
    QuarterTurn,
    QuarterTurns,
    RandAugment,
    RandomElement,
    RandomErasing,
    RandomResizedCrop,
    Resize,
    Roll,
    Rotate,
    Scale,
    Sharpness,
    Shear,
    Solarize,
    SolarizeLevels,
    SolarizeThreshold,
    Translate,
    VerticalFlip,
    native,
    paths,
    presets,
)
from equissl.augment.equimod_params import equimod_statistics
from equissl.augment.torchvision.from_torchvision import FromTorchvision
from equissl.data.image_folder import ImageFolder
from equissl.data.solids import Solids
from equissl.data.threediebench import ThreeDIEBench
from equissl.data.torchvision_sets import Cifar10, Cifar100, Flowers102, Stl10
from equissl.photonics.cells import cell_kind
from equissl.photonics.data import Crystals
from equissl.photonics.dos import density_of_states, empty_lattice
from equissl.random import Stream
from equissl.views import Between, SameAs, ViewSpec, make_views

Cases = dict[str, Callable[[], Any]]

_TORCHVISION = v2.Compose((v2.RandomRotation(30), v2.ColorJitter(0.4, 0.4, 0.4, 0.1)))
AUGMENTATIONS: Mapping[str, Augmentation] = {
    "Affine": Affine(),
    "AugMix": AugMix(),
    "AutoContrast": AutoContrast(),
    "Blur": GaussianBlur(5, p=0.7),
    "BlurLevels": BlurLevels(),
    "ChannelPermutation": ChannelPermutation(),
    "ColorJitter": ColorJitter(),
    "ColorJitter/strong": ColorJitter(0.8, 0.8, 0.8, 0.5, p=1.0),
    "Crop": RandomResizedCrop(16),
    "Crop/bicubic": RandomResizedCrop(40, (0.3, 0.9), interpolation="bicubic"),
    "EitherFlip": EitherFlip(),
    "Equalize": Equalize(),
    "FromTorchvision": FromTorchvision(_TORCHVISION),
    "Gamma": Gamma(),
    "GaussianNoise": GaussianNoise(),
    "Grayscale": Grayscale(),
    "HalfRoll": HalfRoll(),
    "HalfSwap": HalfSwap(),
    "HorizontalFlip": HorizontalFlip(),
    "Identity": Identity(),
    "Invert": Invert(),
    "Jigsaw": Jigsaw(),
    "Normalize": Normalize(),
    "PatchMask": PatchMask(grid_size=4),
    "Perspective": Perspective(),
    "Posterize": Posterize(),
    "QuarterTurn": QuarterTurn(),
    "RandAugment": RandAugment(),
    "RandomElement": RandomElement(QuarterTurn()),
    "RandomErasing": RandomErasing(),
    "Renamed": Prefixed(Rotate((-90.0, 90.0))),
    "Resize": Resize(16, short_side=20),
    "Roll": Roll(),
    "Rotate": Rotate((-180.0, 180.0), padding_mode="reflection"),
    "SE2": SE2(),
    "Scale": Scale(),
    "Sharpness": Sharpness(),
    "Shear": Shear(),
    "Solarize": Solarize(),
    "SolarizeLevels": SolarizeLevels(),
    "SolarizeThreshold": SolarizeThreshold(),
    "Translate": Translate(),
    "VerticalFlip": VerticalFlip(),
}
PIPELINES: Mapping[str, Augmentation] = {
    "geometry": Pipeline(
        (
            HorizontalFlip(),
            VerticalFlip(),
            QuarterTurn(),
            Rotate((-30.0, 30.0)),
            Shear(),
            Perspective(),
            RandomResizedCrop(24),
        )
    ),
    "pixels": Pipeline(
        (ColorJitter(), Grayscale(), Gamma(), Sharpness(), Posterize(), Equalize(), Solarize(), Normalize())
    ),
    "rest": Pipeline(
        (
            AutoContrast(),
            ChannelPermutation(),
            Invert(),
            GaussianNoise(),
            RandomErasing(),
            Jigsaw(),
            HalfSwap(),
        )
    ),
    "cells": Pipeline((Roll(), EitherFlip(), QuarterTurn(), HalfRoll())),
    "twice": Pipeline((paths.translation(), Identity(), Prefixed(ColorJitter(), "second_"))),
    "nested": Pipeline(
        (
            Pipeline((RandomResizedCrop(20), HorizontalFlip())),
            Pipeline((ColorJitter(), PatchMask(grid_size=4))),
        )
    ),
    "simclr": presets.simclr(32),
    "simclr_large": presets.simclr(64, strength=0.5, blur=0.0),
    "equimod_simclr_cifar10": presets.equimod_simclr_cifar10(),
    "equimod_byol_1": presets.equimod_byol(1),
    "equimod_byol_2": presets.equimod_byol(2),
    "asymmetric_1": presets.asymmetric(1, 32),
    "asymmetric_2": presets.asymmetric(2, 64),
    "moco_v2": presets.moco_v2(64),
    "multi_crop_a": presets.multi_crop(32, 16, 2)["a"],
    "multi_crop_local": presets.multi_crop(32, 16, 2)["local_2"],
    "essl_cifar10": presets.essl_cifar10(),
    "essl_imagenet_small": presets.essl_imagenet_small(),
    "augself_stl10": presets.augself_stl10(48, strength=1.2),
    "path_rotation": paths.rotation(),
    "path_translation": paths.translation(),
    "path_se2": paths.se2(),
    "path_color": paths.color(),
    "path_blur": paths.blur(),
}


def augmented(augmentation: Augmentation, engine: Any = "torch") -> list[Any]:
    """Sampled parameters and pixels of eight images, the augmentation as one step of a pipeline."""
    batch = recipes.photos(24, 8).batch(torch.arange(8))
    spec = {"view": ViewSpec(Pipeline((Identity(), augmentation)))}
    views = [make_views(batch, spec, seed, epoch, engine)["view"] for seed, epoch in ((0, 0), (5, 2))]
    return [[view.params, view.images] for view in views]


def moments(augmentation: Augmentation) -> list[Any]:
    found = augmentation.moments()
    return [list(pair) for pair in found.values()]


def augmentation_cases() -> Cases:
    cases: Cases = {}
    for name, one in AUGMENTATIONS.items():
        cases[f"augment/{name}"] = partial(augmented, one)
    for name, one in PIPELINES.items():
        cases[f"pipeline/{name}"] = partial(augmented, one)
        if native.available():
            cases[f"native/{name}"] = partial(augmented, one, "native")
    for name in ("Affine", "Blur", "ColorJitter", "Crop", "RandomErasing", "PatchMask", "RandomElement"):
        cases[f"moments/{name}"] = partial(moments, AUGMENTATIONS[name])
    cases["moments/legacy"] = lambda: equimod_statistics(
        [presets.equimod_byol(k) for k in (1, 2)], (32, 32), 18
    )
    cases["views/related"] = related_views
    cases["views/orbits"] = orbits
    return cases


def related_views() -> list[Any]:
    """Views that share or interpolate the parameters of others."""
    policy = Pipeline((RandomResizedCrop(24), ColorJitter(p=1.0), Rotate((-45.0, 45.0))))
    specs = {
        "a": ViewSpec(policy),
        "b": ViewSpec(policy),
        "same": ViewSpec(policy, draw=SameAs("a")),
        "half": ViewSpec(policy, draw=Between("a", "b", 0.5, ("rotation", "hue", "crop_left"))),
        "part": ViewSpec(policy, draw=Between("", "b", 0.25, ("rotation", "hue"))),
        "turns": ViewSpec(policy, draw=SameAs("b"), orbit=QuarterTurns()),
    }
    views = make_views(recipes.photos(32, 8).batch(torch.arange(8)), specs, 1, 3)
    return [[v.params, v.images] for v in views.values()]


def orbits() -> list[Any]:
    batch = recipes.photos(24, 8).batch(torch.arange(8))
    elements = (
        QuarterTurn(),
        VerticalFlip(),
        HalfSwap(),
        Jigsaw(),
        BlurLevels(),
        SolarizeLevels(),
        Grayscale(),
    )
    specs = {f"orbit_{k}": ViewSpec(orbit=FullOrbit(e)) for k, e in enumerate(elements)}
    return [[v.params, v.images] for v in make_views(batch, specs, 0).values()]


def data_cases(folder: Path) -> Cases:
    kinds: Mapping[str, Any] = {
        "Cifar10": Cifar10,
        "Cifar100": Cifar100,
        "Crystals": Crystals,
        "Flowers102": Flowers102,
        "ImageFolder": ImageFolder,
        "Solids": Solids,
        "Stl10": Stl10,
        "ThreeDIEBench": ThreeDIEBench,
    }

    def opened(kind: Any) -> list[Any]:
        data = kind.example(folder / kind.__name__)
        sets = [data.open(split) for split in ("train", "test")]
        return [[s.batch(torch.arange(min(len(s), 16)), epoch=1), s.labels, s.groups] for s in sets]

    cases: Cases = {f"data/{name}": partial(opened, kind) for name, kind in kinds.items()}
    cases["data/Solids/uniform"] = lambda: recipes.solids("uniform").batch(torch.arange(8))
    cases["data/Solids/rendered"] = rendered
    cases["photonics/cells"] = cells
    cases["photonics/dos"] = densities
    return cases


def rendered() -> Any:
    data = recipes.solids()
    index = torch.arange(4)
    return data.render(index, data.params[index + 4])


def cells() -> list[Any]:
    kinds = ("blob", "gpm", "p1", "p4m", "p2", "p4")
    made = [cell_kind(k).sample(Stream.of(torch.arange(3), k), 16) for k in kinds]
    return [[c.epsilon, c.inside, c.outside, c.fill] for c in made]


def densities() -> list[Any]:
    epsilon = cell_kind("gpm").sample(Stream.of(torch.arange(2), "cells"), 16).epsilon
    found = [density_of_states(epsilon, recipes.spectrum(polarisation=p)) for p in ("tm", "te")]
    return [*found, empty_lattice(recipes.spectrum())]
