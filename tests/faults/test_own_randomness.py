"""Augmentations whose randomness lies elsewhere than in their stream and parameters are refused."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

import equissl
from equissl.api.preview import preview_views
from equissl.augment import HorizontalFlip, Pipeline, RandomResizedCrop, check_replay, presets
from equissl.augment.base import Augmentation
from equissl.augment.torchvision.from_torchvision import FromTorchvision
from equissl.data.solids import Solids
from equissl.encoder.backbone import EncoderConfig
from equissl.errors import UserError
from equissl.invariance.simclr import SimCLR
from equissl.params import Binary, Params, Real, Space
from equissl.random import Stream
from equissl.recipe import Recipe
from equissl.training.options import Options
from equissl.views import ViewSpec

OWN = torch.Generator().manual_seed(0)
OWN_NUMPY = np.random.default_rng(0)
OWN_PYTHON = random.Random(0)
CALLS = itertools.count()


def own_torch(image: Tensor) -> Tensor:
    return image * torch.rand(1, generator=OWN)


def own_numpy(image: Tensor) -> Tensor:
    return image * float(OWN_NUMPY.uniform())


def own_python(image: Tensor) -> Tensor:
    return image + OWN_PYTHON.gauss()


def operating_system(image: Tensor) -> Tensor:
    return image * (os.urandom(1)[0] / 255)


def counter(image: Tensor) -> Tensor:
    return image.flip(-1) if next(CALLS) % 2 else image


def additive(image: Tensor) -> Tensor:
    return image + float(OWN_NUMPY.uniform())


class OwnParameters(v2.Transform):
    """Draws what it records from a generator of its own."""

    def make_params(self, flat_inputs: list[object]) -> dict[str, float]:
        return {"shift": OWN_PYTHON.random()}

    def transform(self, inpt: Tensor, params: dict[str, float]) -> Tensor:
        return inpt + params["shift"]


FUNCTIONS = [own_torch, own_numpy, own_python, operating_system, counter, additive]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_own_randomness_in_a_torchvision_transform(function: Callable[[Tensor], Tensor]) -> None:
    for transform in (
        v2.Lambda(function),
        v2.Compose([v2.RandomResizedCrop(16), v2.Lambda(function), v2.RandomHorizontalFlip()]),
        v2.RandomApply([v2.Lambda(function)], p=0.01),
        v2.Compose([v2.ToDtype(torch.uint8, scale=True), v2.ToDtype(torch.float32, scale=True), function]),
    ):
        with pytest.raises(ValueError, match=rf"Lambda\({function.__name__}\) gives another image"):
            FromTorchvision(transform, size=(20, 20))


def test_own_parameters_in_a_torchvision_transform() -> None:
    with pytest.raises(ValueError, match="OwnParameters gives another image with the same seed"):
        FromTorchvision(v2.Compose([v2.RandomHorizontalFlip(), OwnParameters()]))


def global_generators(image: Tensor) -> Tensor:
    scale = torch.rand(1) * np.random.uniform(0.5, 1) * random.random()
    seeded = np.random.default_rng(np.random.randint(2**31)).uniform()  # what the message advises
    return image * scale * seeded


@pytest.mark.parametrize(
    "transform",
    [
        v2.Lambda(global_generators),
        nn.Sequential(v2.RandomHorizontalFlip(), nn.Dropout(0.5)),
        v2.Compose([v2.RandomOrder([v2.GaussianNoise(), v2.RandomErasing(1.0)]), v2.Lambda(lambda x: x)]),
        v2.RandomChoice([v2.ElasticTransform(), v2.RandomPhotometricDistort(), v2.RandomPerspective()]),
        v2.Compose([v2.ToDtype(torch.uint8, scale=True), v2.JPEG((5, 90)), v2.AutoAugment(), v2.AugMix()]),
        v2.Lambda(lambda x: x / 0 * 0),  # NaN
    ],
    ids=lambda t: type(t).__name__,
)
def test_seeded_transforms_are_accepted(transform: nn.Module) -> None:
    whole = v2.Compose([transform]) if not isinstance(transform, v2.Transform) else transform
    policy = FromTorchvision(whole, size=(32, 32))
    check_replay(policy, torch.rand(3, 3, 32, 32))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_number_of_channels(channels: int) -> None:
    transform = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomChannelPermutation(), v2.RandomCrop(12)])
    policy, images = FromTorchvision(transform, channels=channels), torch.rand(4, channels, 16, 16)
    check_replay(policy, images)
    assert policy.apply(images[:0], policy.space.neutral(0)).shape == (0, channels, 12, 12)
    with pytest.raises(ValueError, match=f"images with {channels} channels, these have 5; set channels=5"):
        policy.apply(torch.rand(4, 5, 16, 16), policy.space.neutral(4))
    grey = FromTorchvision(v2.Grayscale(), channels=3)
    assert grey.apply(images[:0].new_empty(0, 3, 8, 8), grey.space.neutral(0)).shape == (0, 1, 8, 8)


def test_channels_that_a_transform_does_not_accept() -> None:
    with pytest.raises(ValueError, match=r"fails on a float image \(2, 64, 64\): .*channels="):
        FromTorchvision(v2.ColorJitter(0.5), channels=2)
    with pytest.raises(ValueError, match="channels must be at least 1"):
        FromTorchvision(v2.RandomHorizontalFlip(), channels=0)


@dataclass(frozen=True)
class SamplesFromNumpy(Augmentation):
    @property
    def space(self) -> Space:
        return Space((Real("shift"),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        values = torch.from_numpy(np.random.uniform(size=(len(stream), 1))).float()
        return Params.of(self.space, {"shift": values})

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return images + params.values["shift"][:, :, None, None]


@dataclass(frozen=True)
class AppliedFromTorch(Augmentation):
    """Its values are in order, whether they are applied is not."""

    @property
    def space(self) -> Space:
        return Space((Binary("flip"),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        on = torch.rand(len(stream)) < 0.5
        return Params(self.space, {"flip": torch.zeros(len(stream), 1)}, {"flip": on}, len(stream))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return images


@dataclass(frozen=True)
class AppliesWith(Augmentation):
    function: Callable[[Tensor], Tensor] = own_numpy

    @property
    def space(self) -> Space:
        return Space()

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        return Params.of(Space(), {}, count=len(stream))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return self.function(images)


def noise(image: Tensor) -> Tensor:
    return image + 0.01 * torch.randn_like(image)


def test_own_augmentations_that_draw_elsewhere() -> None:
    for sampled in (SamplesFromNumpy(), AppliedFromTorch()):
        with pytest.raises(UserError, match=rf"{type(sampled).__name__}\(\): sample gives other parameters"):
            check_replay(sampled)
    for function in (*FUNCTIONS, noise):
        policy = Pipeline((RandomResizedCrop(16), AppliesWith(function), HorizontalFlip()))
        with pytest.raises(UserError, match=r"AppliesWith\(.*apply gives other images"):
            check_replay(policy)


def test_the_check_leaves_the_generators_and_the_images_as_they_were() -> None:
    images = torch.rand(2, 3, 16, 16)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    for policy in (AppliesWith(noise), SamplesFromNumpy()):
        with pytest.raises(UserError):
            check_replay(policy, images)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]


@pytest.mark.parametrize("preset", [presets.simclr(16), presets.equimod_byol(2, 16)])
def test_shipped_policies_pass(preset: Augmentation) -> None:
    for count in (1, 2, 7):
        check_replay(preset, torch.randint(0, 256, (count, 3, 24, 24), dtype=torch.uint8))


def recipe(augment: Augmentation) -> Recipe:
    views = {"a": ViewSpec(RandomResizedCrop(16)), "b": ViewSpec(augment)}
    return Recipe(
        data=Solids(size=16, objects=4, views=4),
        views=views,
        encoder=EncoderConfig(name="test_resnet", size=16),
        base=SimCLR.Config(projector=(16, 8)),
        batch_size=8,
    )


def test_a_run_and_a_preview_do_not_start(tmp_path: Path) -> None:
    bad = recipe(Pipeline((RandomResizedCrop(16), AppliesWith(noise))))
    said = r"views\.b\.augment: AppliesWith\(.*apply gives other images"
    with pytest.raises(UserError, match=said):
        equissl.pretrain(bad, tmp_path / "run", Options(silent=True))
    with pytest.raises(UserError, match=said):
        preview_views(bad, tmp_path / "views.html")
    assert not list(tmp_path.iterdir())


def test_a_policy_that_fails_on_these_images_is_named(tmp_path: Path) -> None:
    one = FromTorchvision(v2.RandomHorizontalFlip(), channels=1)
    with pytest.raises(UserError, match=r"views\.b\.augment: .*set channels=3"):
        equissl.pretrain(recipe(one), tmp_path / "run", Options(silent=True))
    assert not (tmp_path / "run").exists()
