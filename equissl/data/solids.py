"""Solids: rendered procedural 3D objects with labelled pose, hues and light; no download."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from equissl.config.validation import MAX_WIDTH, check_bounds
from equissl.data.base import Data, InMemoryDataset, Split, check_split
from equissl.params import Params, Space
from equissl.progress import Progress, no_progress
from equissl.render.solids.generate import SolidImages, generate
from equissl.render.solids.objects import make_objects
from equissl.render.solids.renderer import render
from equissl.render.solids.scene import SPACE, Rotations
from equissl.render.solids.shapes import CLASS_NAMES

MAX_CACHED = 4  # rendered splits in memory, so that runs on the same images render them once
_CACHE: dict[tuple[Solids, Split], SolidImages] = {}


@dataclass(frozen=True, kw_only=True)
class Solids(Data):
    """Solids rendered in the style of 3DIEBench when opened; the same seed gives the same images.

    >>> dataset = Solids(size=8, objects=12, views=2).open("train")
    >>> len(dataset), dataset.spaces["image"].names
    (24, ('pose', 'floor_hue', 'light_hue', 'light_azimuth', 'light_elevation'))

    Args:
        size: side of the images in pixels.
        objects: training objects; the test split has a quarter as many, none of them shared.
        views: images per object.
        paired: add "partner" to batches, another image of the same object.
        rotations: "3diebench" for Euler angles within a quarter turn of upright, or "uniform".
        seed: of the objects and scenes.
    """

    paper: ClassVar[str] = "arXiv:2302.10283"
    size: int = 64
    objects: int = 400
    views: int = 10
    paired: bool = False
    rotations: Rotations = "3diebench"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, "objects", "views", low=1, high=MAX_WIDTH)

    def open(self, split: Split, progress: Progress = no_progress) -> InMemoryDataset:
        check_split(split)
        key = (replace(self, paired=False), split)
        if key not in _CACHE:
            while len(_CACHE) >= MAX_CACHED:
                del _CACHE[next(iter(_CACHE))]
            _CACHE[key] = self._render(split, progress)
        rendered = _CACHE[key]
        return InMemoryDataset(
            rendered.images,
            rendered.params,
            rendered.labels,
            CLASS_NAMES,
            group_ids=rendered.objects,
            paired=self.paired,
            renderer=self._rerender,
        )

    def _rerender(self, objects: Tensor, params: Params) -> Tensor:
        numbers, row = torch.unique(objects, return_inverse=True)
        return render(make_objects(numbers, self.seed)[row], params, self.size)

    def _render(self, split: Split, progress: Progress) -> SolidImages:
        objects = self.objects if split == "train" else max(self.objects // 4, 1)
        return generate(
            objects, self.views, self.size, self.seed, split, rotations=self.rotations, progress=progress
        )

    @property
    def spaces(self) -> Mapping[str, Space]:
        return dict.fromkeys(("image", "partner") if self.paired else ("image",), SPACE)

    @classmethod
    def example(cls, folder: Path) -> Solids:
        return cls(size=16, objects=24, views=2, paired=True)
