"""Generation of Solids: images of procedural objects with labelled pose, hues and light, from a seed.

In the style of 3DIEBench (Garrido, Najman & LeCun, ICML 2023): every object has views under many poses and
lights, and the objects of the test split are not in the training split.
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
from equissl.render.solids.objects import make_objects
from equissl.render.solids.renderer import render
from equissl.render.solids.scene import MAX_VIEWS, Rotations, Studio, sample
from equissl.render.solids.shapes import CLASS_NAMES

_GROUP_SIZE = 5  # consecutive objects of a class, of which one is held out


@dataclass(frozen=True)
class SolidImages:
    """Images in memory, all views of the first object, then of the second, ...

    Args:
        images: (N, 3, size, size) uint8.
        labels: (N,) int64, index into ``CLASS_NAMES``.
        objects: (N,) int64, object number of each image.
        views: (N,) int64, view number of each image.
        params: pose, hues and light of each image.
    """

    images: Tensor
    labels: Tensor
    objects: Tensor
    views: Tensor
    params: Params


def object_numbers(count: int, seed: int, split: Literal["train", "test"]) -> Tensor:
    """The numbers (count,) of the first objects of a split, its classes in turn.

    One of every five objects of a class is held out for testing, chosen by (seed, object) alone, so that a
    larger ``count`` starts with the same objects.

    Raises:
        UserError: there is no such split.
    """
    if split not in ("train", "test"):
        raise UserError(f"no split called {split!r}; {nearest(split, ('train', 'test'))}")
    position = torch.arange(count)
    kind, rank = position % len(CLASS_NAMES), position // len(CLASS_NAMES)
    per_group = 1 if split == "test" else _GROUP_SIZE - 1
    group, member = rank // per_group, rank % per_group
    held_out = Stream.of(group * len(CLASS_NAMES) + kind, seed, "split").integers("held out", _GROUP_SIZE)
    row = held_out if split == "test" else member + (member >= held_out)
    return (group * _GROUP_SIZE + row) * len(CLASS_NAMES) + kind


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
) -> SolidImages:
    """Render ``objects`` solids of a split, each with ``views_per_object`` poses and lights.

    Args:
        objects: number of objects; a multiple of the number of classes gives balanced classes.
        size: side of the images in pixels.
        rotations: Euler angles within a quarter turn as in 3DIEBench, or uniform over all rotations.
        device: for rendering; the result is on the CPU.

    Raises:
        UserError: a number is out of range, or a split or choice of rotations does not exist.
    """
    if objects < 1:
        raise UserError(f"objects must be at least 1, got {objects}")
    if not 1 <= views_per_object <= MAX_VIEWS:
        raise UserError(f"views_per_object must be 1 ... {MAX_VIEWS}, got {views_per_object}")
    numbers = object_numbers(objects, seed, split)
    owner = torch.arange(objects).repeat_interleave(views_per_object)
    views = torch.arange(views_per_object).repeat(objects)
    params = sample(numbers[owner], views, seed, rotations)
    solids = make_objects(numbers, seed)[owner].to(device)
    images = render(solids, params.to(device), size, studio, progress).cpu()
    return SolidImages(images, numbers[owner] % len(CLASS_NAMES), numbers[owner], views, params)
