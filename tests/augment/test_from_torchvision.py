"""torchvision's v2 transforms recorded and replayed: laws, parameters, and what is refused."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

from equissl.augment import Pipeline, views
from equissl.augment.color.grayscale import Grayscale
from equissl.augment.torchvision.from_torchvision import FromTorchvision
from equissl.params import Binary, Params, Permutation
from equissl.random import Stream
from equissl.testing.augment import check_augmentation

TRANSFORM = v2.Compose(
    [
        v2.RandomResizedCrop(16, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        v2.RandomGrayscale(0.2),
        v2.RandomChoice([v2.GaussianBlur(3), v2.RandomRotation(30)]),
    ]
)


class OtherGenerators(v2.Transform):
    """A user's own, that draws from numpy and Python."""

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        return inpt * np.random.uniform(0.5, 1) * random.uniform(0.5, 1) * torch.rand(1)


def make_images(count: int = 8, size: tuple[int, int] = (24, 20)) -> Tensor:
    return Stream.of(torch.arange(count), "t").uniform("images", 3 * size[0] * size[1]).view(count, 3, *size)


def test_the_laws_hold_for_one_part() -> None:
    check_augmentation(FromTorchvision(v2.RandomApply([v2.ColorJitter(0.5)])))


@pytest.mark.parametrize(
    "transform",
    [
        TRANSFORM,
        v2.RandomOrder([v2.RandomHorizontalFlip(), v2.GaussianNoise(), v2.RandomErasing()]),
        v2.Compose([v2.RandAugment(), v2.RandomCrop(12)]),
        v2.Compose([v2.ToDtype(torch.uint8, scale=True), v2.JPEG((20, 90)), v2.RandomAutocontrast()]),
        OtherGenerators(),
    ],
    ids=lambda t: type(t).__name__,
)
def test_a_replay_is_bit_for_bit_whatever_else_is_drawn(transform: v2.Transform) -> None:
    images, policy = make_images(), FromTorchvision(transform)
    torch.manual_seed(1)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    (made,), record = views(images, policy, count=1)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
    torch.rand(5), random.random(), np.random.rand()
    assert torch.equal(record.replay(images)[0], made)
    rows = torch.tensor([5, 2])
    part = policy.sample(Stream.of(rows, 0, 0, "a"), (24, 20))
    assert torch.equal(policy.apply(images[rows], part), made[rows])
    assert not torch.equal(views(images, policy, count=1, seed=1)[0][0], made)


def test_parameters_are_those_of_torchvision() -> None:
    policy = FromTorchvision(TRANSFORM)
    kinds = {f.name: type(f) for f in policy.space}
    assert kinds["random_horizontal_flip"] is kinds["random_grayscale"] is Binary
    assert kinds["color_jitter_fn_idx"] is Permutation
    assert policy.space["random_rotation_angle"].unit == "degrees"
    assert "gaussian_blur_sigma_1" in kinds and not any("num_input_channels" in n for n in kinds)
    draw = policy.sample(Stream.of(torch.arange(300), 0), (24, 20))
    assert torch.equal(draw.applied["random_rotation_angle"], ~draw.applied["gaussian_blur_sigma_0"])
    off = ~draw.applied["color_jitter_brightness_factor"]
    assert 20 < off.sum() < 100 and (draw.values["color_jitter_brightness_factor"][off] == 1).all()

    turn = FromTorchvision(v2.RandomRotation(40))
    images = make_images()
    (made,), record = views(images, turn, count=1)
    angles = record.params["a"].values["random_rotation_angle"][:, 0].tolist()
    assert len(set(angles)) == 8
    for view, image, angle in zip(made, images, angles, strict=True):
        assert torch.equal(view, tvf.rotate(image, angle))


def test_it_stands_in_a_pipeline_and_its_module_is_left_as_it_was() -> None:
    policy = Pipeline((FromTorchvision(v2.RandomHorizontalFlip()), Grayscale()))
    images = make_images()
    (made, _), record = views(images, policy)
    assert torch.equal(record.replay(images)[0], made)
    step = policy.steps[0]
    assert isinstance(step, FromTorchvision) and "make_params" not in step.transform.__dict__


def test_neutral_is_the_whole_image() -> None:
    policy, images = FromTorchvision(TRANSFORM), make_images()
    neutral = policy.space.neutral(8)
    assert policy.apply(images, neutral).shape == (8, 3, 16, 16)
    same = FromTorchvision(v2.RandomRotation(9))
    assert torch.equal(same.apply(images, same.space.neutral(8)), images)


def test_other_numbers_are_refused() -> None:
    policy, images = FromTorchvision(v2.RandomRotation(40)), make_images()
    draw = policy.sample(Stream.of(torch.arange(8), 0), (24, 20))
    changed = {**draw.values, "random_rotation_angle": draw.values["random_rotation_angle"] + 1}
    with pytest.raises(ValueError, match="random_rotation_angle of image 0 is not what its seed gives"):
        policy.apply(images, Params.of(draw.space, changed))


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (torch.nn.Identity(), "FromTorchvision.transform must be Transform"),
        (v2.RandomCrop(100), "larger than"),
        (v2.RandomIoUCrop(), "FromTorchvision.transform fails"),
        (v2.ToPILImage(), "returns Image, not a tensor"),
        (v2.ScaleJitter((64, 64)), "images of one size"),
    ],
)
def test_transforms_that_cannot_be_used(transform: v2.Transform, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FromTorchvision(transform)


def test_the_size_it_is_tried_on_can_be_given() -> None:
    policy = FromTorchvision(v2.RandomCrop(100), size=(120, 130))
    assert policy.output_size((200, 200)) == (100, 100)
