"""Finite transformations: their elements, in which order, as an orbit and one by one."""

from __future__ import annotations

import itertools

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from equissl.augment import (
    Augmentation,
    BlurLevels,
    FullOrbit,
    Grayscale,
    HalfSwap,
    HorizontalFlip,
    Invert,
    Jigsaw,
    Pipeline,
    QuarterTurn,
    QuarterTurns,
    RandomElement,
    SolarizeLevels,
    VerticalFlip,
)
from equissl.params import Binary, Params, Space
from equissl.random import Stream

FINITE: dict[str, tuple[Augmentation, int]] = {
    "rotation": (QuarterTurn(), 4),
    "vertical flip": (VerticalFlip(), 2),
    "horizontal flip": (HorizontalFlip(), 2),
    "jigsaw": (Jigsaw(), 24),
    "half swap": (HalfSwap(), 2),
    "grayscale": (Grayscale(), 2),
    "blur": (BlurLevels(), 4),
    "inversion": (Invert(), 2),
    "solarize": (SolarizeLevels(), 4),
    "square": (Pipeline((VerticalFlip(), QuarterTurn())), 8),
}
LUMA = torch.tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)


def expand(augmentation: Augmentation, images: torch.Tensor) -> tuple[torch.Tensor, Params]:
    known = Params.of(Space((Binary("known"),)), {"known": torch.arange(len(images)).float()[:, None]})
    views, record = FullOrbit(augmentation).expand(images, known)
    assert record.space == known.space + augmentation.space
    blocks = record.values["known"].view(-1, len(images))
    assert torch.equal(blocks, torch.arange(len(images)).float().expand_as(blocks)), "images keep their order"
    return views.unflatten(0, (-1, len(images))), record


def make_images(count: int = 3, side: int = 16) -> torch.Tensor:
    return Stream.of(torch.arange(count), 5).uniform("p", 3 * side * side).view(count, 3, side, side)


@pytest.mark.parametrize("name", FINITE)
def test_an_orbit_is_the_augmentation_under_every_element(name: str) -> None:
    augmentation, order = FINITE[name]
    images = make_images()
    views, record = expand(augmentation, images)
    assert len(views) == order == FullOrbit(augmentation).order
    assert torch.equal(views[0], images), "the first element leaves the image as it is"
    rows = {tuple(r) for r in torch.cat([record.values[n] for n in augmentation.space.names], 1).tolist()}
    assert len(rows) == order, "every element occurs"
    flat = views.transpose(0, 1).flatten(2)
    distances = torch.cdist(flat.double(), flat.double())
    several = distances[:, *torch.triu_indices(order, order, 1)]
    assert (several > 1e-3).all(), "no two elements do the same to an image without symmetry"


def test_quarter_turns_are_this_orbit() -> None:
    assert FullOrbit(QuarterTurn()) == QuarterTurns()
    views, _ = expand(QuarterTurn(), make_images())
    for k in range(4):
        assert torch.equal(views[k], make_images().rot90(k, (2, 3)))


def test_jigsaw_puts_quadrants_clockwise_in_lexicographic_order() -> None:
    images = make_images(2, 6)
    quadrants = [images[..., :3, :3], images[..., :3, 3:], images[..., 3:, 3:], images[..., 3:, :3]]
    views, record = expand(Jigsaw(), images)
    for k, order in enumerate(itertools.permutations(range(4))):
        a, b, c, d = (quadrants[i] for i in order)
        wanted = torch.cat([torch.cat([a, b], 3), torch.cat([d, c], 3)], 2)
        assert torch.equal(views[k], wanted)
    number = record.space["jigsaw"].element(record.values["jigsaw"])
    assert number.tolist() == [k for k in range(24) for _ in range(2)]
    with pytest.raises(ValueError, match="even sides, got 6x7"):
        Jigsaw().apply(torch.rand(2, 3, 6, 7), Jigsaw().space.neutral(2))


def test_the_others_equal_torchvision() -> None:
    images = make_images()
    wanted = {
        "half swap": [torch.cat([images[:, :, 8:], images[:, :, :8]], 2)],
        "vertical flip": [tv.vertical_flip(images)],
        "horizontal flip": [tv.horizontal_flip(images)],
        "grayscale": [(images * LUMA).sum(1, keepdim=True).expand_as(images)],
        "inversion": [1 - images],
        "blur": [tv.gaussian_blur(images, [k, k]) for k in (5, 9, 15)],
        "solarize": [tv.solarize(images, t / 255) for t in (170, 85, 0)],
    }
    for name, elements in wanted.items():
        views, _ = expand(FINITE[name][0], images)
        torch.testing.assert_close(views[1:], torch.stack(elements), atol=2e-6, rtol=0, msg=name)


@pytest.mark.parametrize("name", FINITE)
@pytest.mark.parametrize("probability", [None, 0.5])
def test_a_random_element_is_uniform(name: str, probability: float | None) -> None:
    augmentation, order = FINITE[name]
    step, count = RandomElement(augmentation, probability), 24_000
    drawn = step.sample(Stream.of(torch.arange(count), 3), (16, 16))
    every = FullOrbit(augmentation).expand(torch.zeros(1, 3, 16, 16), Params.of(Space(), {}, count=1))[1]
    values, elements = (torch.cat([p.values[n] for n in step.space.names], 1) for p in (drawn, every))
    share = (values[:, None] == elements).all(2).double().mean(0)
    other = 1 / order if probability is None else probability / (order - 1)
    expected = torch.tensor([1 - (order - 1) * other] + [other] * (order - 1)).double()
    assert ((share - expected).abs() < 5 * (expected * (1 - expected) / count).sqrt() + 1e-12).all()


def test_two_random_elements_are_independent() -> None:
    policy = Pipeline((RandomElement(HorizontalFlip()), RandomElement(VerticalFlip())))
    drawn = policy.sample(Stream.of(torch.arange(4000), 0), (8, 8)).values
    across, down = drawn["horizontal_flip"].squeeze(1), drawn["vertical_flip"].squeeze(1)
    assert torch.corrcoef(torch.stack([across, down]))[0, 1].abs() < 0.07
