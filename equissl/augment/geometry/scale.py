"""Zooming in and out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import Augmentation, Moments
from equissl.augment.batched import overwrite
from equissl.augment.geometry.warp import FILLS, Fill, moved
from equissl.augment.validation import check_choice, check_number, check_range, spread, uniform
from equissl.params import Params, Real, Space
from equissl.random import Stream


@dataclass(frozen=True)
class Scale(Augmentation):
    """Enlarge or shrink what is shown about the centre, keeping the image's size, bilinear.

    The factor ``zoom`` is the binary logarithm of the magnification (1 is twice as large, -1 half), so that
    zooms one after the other add up. Shrinking is not antialiased (neither is torchvision's ``affine``).

    Args:
        factor: range of the magnification, above 0, drawn uniformly in its logarithm.
        fill: what shows where the image does not reach: black, or its mirror image (``warp``).

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Scale"

    factor: tuple[float, float] = (0.8, 1.25)
    fill: Fill = "zeros"
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_range("Scale.factor", self.factor, 0, above=True)
        check_choice("Scale.fill", self.fill, FILLS)
        check_number("Scale.probability", self.probability)

    @property
    def space(self) -> Space:
        return Space((Real("zoom", unit="log2", scale=spread(self._bounds, self.probability)),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        zoom = stream.uniform("zoom", 1, *self._bounds)
        return Params.of(self.space, {"zoom": zoom}, stream.chance("applied", self.probability))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        zoom = params.values["zoom"].to(images.dtype)
        return overwrite(images.clone(), zoom[:, 0] != 0, self._zoomed, zoom)

    def moments(self) -> Moments:
        return uniform("zoom", self._bounds, self.probability)

    @property
    def _bounds(self) -> tuple[float, float]:
        return math.log2(self.factor[0]), math.log2(self.factor[1])

    def _zoomed(self, images: Tensor, zoom: Tensor) -> Tensor:
        return moved(images, self.fill, zoom=zoom)
