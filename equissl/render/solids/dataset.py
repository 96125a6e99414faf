"""Solids, the built-in benchmark: images of procedural objects whose pose, hues and light are known.

Made like 3DIEBench (Garrido, Najman & LeCun, ICML 2023) but from nothing except a seed: every object is
seen under many poses and lights, and the test split holds objects that training never saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from equissl.errors import UserError, nearest
from equissl.params import Params
from equissl.progress import Progress, no_progress
from equissl.random import Stream
from equissl.render.solids.draw import draw
from equissl.render.solids.objects import make_objects
from equissl.render.solids.scene import VIEWS_LIMIT, Rotations, Studio, sample
from equissl.render.solids.shapes import CLASS_NAMES

_GROUP = 5  # of so many consecutive objects of a class, one is held out


@dataclass(frozen=True)
class Solids:
    """Images in memory, all views of the first object, then of the second, ...

    Args:
        images: (N, 3, size, size) uint8.
        labels: (N,) int64, index into ``CLASS_NAMES``.
        objects: (N,) int64, which object an image shows.
        views: (N,) int64, which of the object's views it is.
        params: pose, hues and light of each image.
    """

    images: Tensor
    labels: Tensor
    objects: Tensor
    views: Tensor
    params: Params


def object_numbers(count: int, seed: int, split: Literal["train", "test"]) -> Tensor:
    """The numbers (count,) of the first objects of a split, its classes in turn.

    One of every five objects of a class is held out for testing. Which one depends on (seed, object) alone,
    so asking for more objects keeps the first ones.

    Raises:
        UserError: there is no such split.
    """
    if split not in ("train", "test"):
        raise UserError(f"no split called {split!r}; {nearest(split, ('train', 'test'))}")
    position = torch.arange(count)
    kind, rank = position % len(CLASS_NAMES), position // len(CLASS_NAMES)
    per_group = 1 if split == "test" else _GROUP - 1
    group, place = rank // per_group, rank % per_group
    held_out = Stream.of(group * len(CLASS_NAMES) + kind, seed, "split").integers("held out", _GROUP)
    row = held_out if split == "test" else place + (place >= held_out)
    return (group * _GROUP + row) * len(CLASS_NAMES) + kind


def generate(
    objects: int,
    views_per_object: int,
    size: int,
    seed: int = 0,
    split: Literal["train", "test"] = "train",
    *,
    rotations: Rotations = "3diebench",
    studio: Studio = Studio(),
    device: torch.device | str = "cpu",
    progress: Progress = no_progress,
) -> Solids:
    """Draw ``objects`` solids of a split, each under ``views_per_object`` poses and lights.

    Args:
        objects: how many; a multiple of the number of classes gives equally many of each.
        size: side of the images in pixels.
        rotations: Euler angles within a quarter turn as in 3DIEBench, or uniform over all rotations.
        device: where to draw; the result is on the CPU.

    Raises:
        UserError: a number is out of range, or a split or choice of rotations does not exist.
    """
    if objects < 1:
        raise UserError(f"objects must be at least 1, got {objects}")
    if not 1 <= views_per_object <= VIEWS_LIMIT:
        raise UserError(f"views_per_object must be 1 ... {VIEWS_LIMIT}, got {views_per_object}")
    numbers = object_numbers(objects, seed, split)
    shown = torch.arange(objects).repeat_interleave(views_per_object)
    views = torch.arange(views_per_object).repeat(objects)
    params = sample(numbers[shown], views, seed, rotations)
    solids = make_objects(numbers, seed)[shown].to(device)
    images = draw(solids, params.to(device), size, studio, progress).cpu()
    return Solids(images, numbers[shown] % len(CLASS_NAMES), numbers[shown], views, params)
