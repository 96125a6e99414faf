"""Can a factor be known from these images at all? Measured on images alone, before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.evaluate.base import Estimate, share
from equissl.evaluate.probes.linear import ridge, split
from equissl.params import Params, Space
from equissl.random import Stream

_GRID = 8  # cells per side that the simple features have
_BINS = 8  # directions of the gradient
_COLORED, _GREY = 0.03, 0.003  # mean chroma, in [0, 1], of an image with and without colour


@dataclass(frozen=True)
class Told:
    """How often one element of a group was told from the others on unseen images, and by chance."""

    accuracy: Estimate
    chance: float

    @property
    def better_than_chance(self) -> bool:
        return self.accuracy.low > self.chance + 0.02


ELEMENTS: Mapping[str, Sequence[int]] = {
    "quarter_turns": (0, 1, 2, 3),
    "horizontal_flip": (0, 1),
    "vertical_flip": (0, 1),
}


def element(images: Tensor, group: str, which: int) -> Tensor:
    """Square images (B, C, S, S) under one element of a group in ``ELEMENTS``."""
    if group == "quarter_turns":
        return images.rot90(which, (2, 3))
    return images.flip(3 if group == "horizontal_flip" else 2) if which else images


def told_apart(images: Tensor, group: str, seed: int = 0) -> Told:
    """Can the element of a group be told from a single image, by a linear probe on simple features?

    If not, the images look alike however they are turned (or the folder already holds every image both
    ways), so only the difference between two views of one image can be known. The features are mean
    colours and gradient directions on a grid: what they tell is a lower bound of what a network can.

    Args:
        images: (N, 3, S, S) in [0, 1], N at least 20.
        group: a key of ``ELEMENTS``.
    """
    elements = ELEMENTS[group]
    count = len(images)
    x = torch.cat([simple_features(element(images, group, k)) for k in elements])
    y = torch.arange(len(elements)).repeat_interleave(count)
    groups = torch.arange(count).repeat(len(elements))
    fit, held = split(groups, 0.4, seed)
    which = F.one_hot(y, len(elements)).float()
    said = ridge(x[fit], which[fit], groups[fit], x[held], seed).predicted.argmax(1)
    return Told(share(said == y[held], groups[held], seed), 1 / len(elements))


def simple_features(images: Tensor) -> Tensor:
    """Mean colours and gradient directions on a grid: (N, 3, S, S) -> (N, D)."""
    grey = images.mean(1, keepdim=True)
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    right = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    angle = torch.atan2(down, right) * (_BINS / (2 * torch.pi))
    bins = torch.arange(_BINS, device=images.device).view(1, -1, 1, 1)
    away = (angle - bins + _BINS / 2).remainder(_BINS) - _BINS / 2
    strength = (right.square() + down.square()).sqrt() * (1 - away.abs()).clamp(min=0)
    means = F.adaptive_avg_pool2d(images, _GRID)
    directions = F.adaptive_avg_pool2d(strength, _GRID // 2)
    return torch.cat([means.flatten(1), directions.flatten(1)], 1)


def moved_by(images: Tensor, other: Tensor) -> float:
    """How far images moved, relative to how far different images are apart (root mean squares).

    0: nothing changed; 1: as different as another image. NaN-free: images that are all alike give 0.
    """
    apart = (images - images.roll(1, 0)).square().mean().sqrt()
    return float((images - other).square().mean().sqrt() / apart.clamp(min=1e-9))


def effect(images: Tensor, augment: Augmentation, names: Sequence[str], seed: int = 0) -> float:
    """How far the factors ``names`` move images, everything else of the policy drawn alike (``moved_by``).

    Args:
        images: (N, C, S, S) in [0, 1].
        names: factors that ``augment`` draws.
    """
    drawn = draw(images, augment, seed)
    rest = drawn.space.neutral(len(images))
    without = Params(
        drawn.space,
        {n: rest.values[n] if n in names else v for n, v in drawn.values.items()},
        drawn.applied,
        drawn.count,
    )
    return moved_by(augment.apply(images, drawn), augment.apply(images, without))


def draw(images: Tensor, augment: Augmentation, seed: int = 0) -> Params:
    """One draw per image."""
    stream = Stream.of(torch.arange(len(images)), seed, "identifiable")
    return augment.sample(stream, (images.shape[-2], images.shape[-1]))


def symmetries(images: Tensor, threshold: float = 0.05) -> list[int]:
    """The quarter turns (1, 2, 3) that change images by less than ``threshold`` (``moved_by``)."""
    return [k for k in (1, 2, 3) if moved_by(images, element(images, "quarter_turns", k)) < threshold]


def colored(images: Tensor) -> Tensor:
    """Which images (N, 3, S, S) have colour, bool (N,)."""
    return chroma(images) > _COLORED


def chroma(images: Tensor) -> Tensor:
    """Mean difference between the largest and the smallest channel, (N,) in [0, 1]."""
    return (images.amax(1) - images.amin(1)).flatten(1).mean(1)


def color_lost(images: Tensor, augment: Augmentation, seed: int = 0) -> float:
    """The share of coloured images in which an augmentation leaves no colour, or drops a channel.

    A channel is dropped if it varied before and is constant afterwards. 0 where no image has colour.
    """
    had = colored(images)
    if not had.any():
        return 0.0
    after = augment.apply(images, draw(images, augment, seed))
    varied, varies = (p.flatten(2).std(2) > 1e-4 for p in (images, after))
    lost = (chroma(after) < _GREY) | (varied & ~varies).any(1)
    return float(lost[had].double().mean())


def factors_drawn(images: Tensor, augment: Augmentation, seed: int = 0) -> Space:
    """The factors of a policy that really vary from draw to draw."""
    drawn = draw(images, augment, seed)
    varying = [n for n in drawn.space.names if float(drawn.values[n].double().std(0).max()) > 1e-6]
    return drawn.space.select(varying)
