"""Identifiability of factors on a set of images: effect sizes, symmetries and a weak linear probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.evaluate.probes.base import group_split
from equissl.evaluate.probes.ridge import ridge
from equissl.evaluate.statistics import Estimate, proportion
from equissl.params import Params, Space
from equissl.random import Stream

GRID = 8  # cells per side of the simple features
NUM_BINS = 8  # directions of the gradient
MIN_CHROMA, MAX_GREY_CHROMA = 0.03, 0.003  # mean chroma in [0, 1] of a coloured and of a grey image
MAX_SYMMETRIC_CHANGE = 0.05  # of the distance between two images
TEST_FRACTION = 0.4
ELEMENTS: Mapping[str, Sequence[int]] = {
    "quarter_turns": (0, 1, 2, 3),
    "horizontal_flip": (0, 1),
    "vertical_flip": (0, 1),
}


@dataclass(frozen=True)
class OrientationAccuracy:
    """Test accuracy of classifying which element of a group was applied to an image, and chance."""

    accuracy: Estimate
    chance: float

    @property
    def is_above_chance(self) -> bool:
        return self.accuracy.low > self.chance + 0.02


def orientation_accuracy(images: Tensor, group: str, seed: int = 0) -> OrientationAccuracy:
    """Accuracy of a linear probe on simple features that classifies the element of a group from one image.

    At chance, the images look alike however they are turned (or the folder already holds them in every
    orientation), so only the change between two views of one image is identifiable. The features are mean
    colours and gradient directions on a grid: the accuracy is a lower bound of a network's.

    Args:
        images: (N, 3, S, S) in [0, 1], N at least 20.
        group: a key of ``ELEMENTS``.
    """
    elements, count = ELEMENTS[group], len(images)
    features = torch.cat([simple_features(transform(images, group, k)) for k in elements])
    labels = torch.arange(len(elements)).repeat_interleave(count)
    groups = torch.arange(count).repeat(len(elements))
    train, test = group_split(groups, TEST_FRACTION, seed)
    targets = F.one_hot(labels, len(elements)).float()
    probe = ridge(features[train], targets[train], groups[train], features[test], seed)
    correct = probe.predictions.argmax(1) == labels[test]
    return OrientationAccuracy(proportion(correct, groups[test], seed), 1 / len(elements))


def transform(images: Tensor, group: str, element: int) -> Tensor:
    """Square images (B, C, S, S) under one element of a group in ``ELEMENTS``."""
    if group == "quarter_turns":
        return images.rot90(element, (2, 3))
    return images.flip(3 if group == "horizontal_flip" else 2) if element else images


def simple_features(images: Tensor) -> Tensor:
    """Mean colours and a histogram of gradient directions per grid cell: (N, 3, S, S) -> (N, D)."""
    grey = images.mean(1, keepdim=True)
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    right = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    angle = torch.atan2(down, right) * (NUM_BINS / (2 * torch.pi))
    bins = torch.arange(NUM_BINS, device=images.device).view(1, -1, 1, 1)
    offset = (angle - bins + NUM_BINS / 2).remainder(NUM_BINS) - NUM_BINS / 2
    strength = (right.square() + down.square()).sqrt() * (1 - offset.abs()).clamp(min=0)
    means = F.adaptive_avg_pool2d(images, GRID)
    directions = F.adaptive_avg_pool2d(strength, GRID // 2)
    return torch.cat([means.flatten(1), directions.flatten(1)], 1)


def relative_distance(images: Tensor, other: Tensor) -> float:
    """Distance between images and their changed versions, over the distance between different images.

    Both are root mean squares; 0: nothing changed, 1: as different as another image. Images that are all
    alike give 0, not NaN.

    >>> images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    >>> relative_distance(images, 1 - images), relative_distance(images, images)
    (1.0, 0.0)
    """
    between_images = (images - images.roll(1, 0)).square().mean().sqrt()
    return float((images - other).square().mean().sqrt() / between_images.clamp(min=1e-9))


def relative_effect(images: Tensor, augment: Augmentation, names: Sequence[str], seed: int = 0) -> float:
    """``relative_distance`` that the factors ``names`` cause, with all others sampled alike.

    Args:
        images: (N, C, S, S) in [0, 1].
        names: factors that ``augment`` samples.
    """
    params = sample_params(images, augment, seed)
    neutral = params.space.neutral(len(images))
    values = {n: neutral.values[n] if n in names else v for n, v in params.values.items()}
    without = Params(params.space, values, params.applied, params.count)
    return relative_distance(augment.apply(images, params), augment.apply(images, without))


def sample_params(images: Tensor, augment: Augmentation, seed: int = 0) -> Params:
    """Augmentation parameters, one row per image."""
    stream = Stream.of(torch.arange(len(images)), seed, "identifiable")
    return augment.sample(stream, (images.shape[-2], images.shape[-1]))


def symmetric_turns(images: Tensor, threshold: float = MAX_SYMMETRIC_CHANGE) -> list[int]:
    """The quarter turns (1, 2, 3) whose ``relative_distance`` on the images is below ``threshold``."""
    return [
        k for k in (1, 2, 3) if relative_distance(images, transform(images, "quarter_turns", k)) < threshold
    ]


def is_colored(images: Tensor) -> Tensor:
    """Which images (N, 3, S, S) have colour, bool (N,)."""
    return chroma(images) > MIN_CHROMA


def chroma(images: Tensor) -> Tensor:
    """Mean difference between the largest and the smallest channel, (N,) in [0, 1].

    >>> chroma(torch.ones(1, 3, 4, 4) * 0.5)
    tensor([0.])
    """
    return (images.amax(1) - images.amin(1)).flatten(1).mean(1)


def fraction_color_lost(images: Tensor, augment: Augmentation, seed: int = 0) -> float:
    """Fraction of the coloured images that an augmentation leaves without colour, or with a channel less.

    A channel is dropped if it varied before and is constant afterwards. 0 where no image has colour.
    """
    colored = is_colored(images)
    if not colored.any():
        return 0.0
    views = augment.apply(images, sample_params(images, augment, seed))
    varied, varies = (p.flatten(2).std(2) > 1e-4 for p in (images, views))
    lost = (chroma(views) < MAX_GREY_CHROMA) | (varied & ~varies).any(1)
    return float(lost[colored].double().mean())


def varying_factors(images: Tensor, augment: Augmentation, seed: int = 0) -> Space:
    """The factors of an augmentation that vary from sample to sample."""
    params = sample_params(images, augment, seed)
    varying = [n for n in params.space.names if float(params.values[n].double().std(0).max()) > 1e-6]
    return params.space.select(varying)
