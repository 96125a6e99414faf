"""Solids: procedural 3D objects with known pose, hues and light; nothing to download."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from equissl.data.base import Data, Resident, Split
from equissl.params import Params, Space
from equissl.progress import Progress, no_progress
from equissl.render.solids.dataset import Solids as Drawn
from equissl.render.solids.dataset import generate
from equissl.render.solids.draw import draw
from equissl.render.solids.objects import make_objects
from equissl.render.solids.scene import SPACE, Rotations
from equissl.render.solids.shapes import CLASS_NAMES

_KEPT = 4  # drawn splits that stay in memory: two runs on the same images draw them once
_DRAWN: dict[tuple[Solids, Split], Drawn] = {}


@dataclass(frozen=True, kw_only=True)
class Solids(Data):
    """Rendered solids in the manner of 3DIEBench, drawn when opened; the same seed gives the same images.

    Args:
        size: side of the images in pixels.
        objects: training objects; the test split has a quarter as many, none of them shared.
        views: images per object.
        paired: offer "partner", another image of the same object, beside "image".
        rotations: Euler angles within a quarter turn of upright (3DIEBench's), or uniform.
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
        for name in ("size", "objects", "views"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def open(self, split: Split, progress: Progress = no_progress) -> Resident:
        key = (replace(self, paired=False), split)
        if key not in _DRAWN:
            while len(_DRAWN) >= _KEPT:
                del _DRAWN[next(iter(_DRAWN))]
            _DRAWN[key] = self._draw(split, progress)
        drawn = _DRAWN[key]
        return Resident(
            drawn.images,
            drawn.params,
            drawn.labels,
            CLASS_NAMES,
            group=drawn.objects,
            paired=self.paired,
            render=self._render,
        )

    def _render(self, objects: Tensor, params: Params) -> Tensor:
        numbers, which = torch.unique(objects, return_inverse=True)
        return draw(make_objects(numbers, self.seed)[which], params, self.size)

    def _draw(self, split: Split, progress: Progress) -> Drawn:
        objects = self.objects if split == "train" else max(self.objects // 4, 1)
        return generate(
            objects, self.views, self.size, self.seed, split, rotations=self.rotations, progress=progress
        )

    @property
    def known(self) -> Mapping[str, Space]:
        return dict.fromkeys(("image", "partner") if self.paired else ("image",), SPACE)

    @classmethod
    def example(cls, folder: Path) -> Solids:
        return cls(size=16, objects=24, views=2, paired=True)
