"""Zooming in and out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.batched import apply_where
from equissl.augment.geometry.warp import PADDING_MODES, PaddingMode, affine_warp
from equissl.augment.moments import Moments, rms_scale, uniform_moments
from equissl.augment.validation import check_between, check_choice, check_range
from equissl.params import Params, Real, Space
from equissl.random import Stream


@dataclass(frozen=True)
class Scale(Augmentation):
    """Zoom in or out about the center, keeping the image's size, bilinear.

    The factor ``zoom`` is the binary logarithm of the magnification (1 is twice as large, -1 half), so that
    zooms one after the other add up. Shrinking is not antialiased (neither is torchvision's ``affine``).

    Args:
        scale: range of the magnification, above 0, log-uniform.
        padding_mode: fill outside of the image, see ``geometry.warp``.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Scale"

    scale: tuple[float, float] = (0.8, 1.25)
    padding_mode: PaddingMode = "zeros"
    p: float = 1.0

    def __post_init__(self) -> None:
        check_range("Scale.scale", self.scale, 0, exclusive=True)
        check_choice("Scale.padding_mode", self.padding_mode, PADDING_MODES)
        check_between("Scale.p", self.p)

    @property
    def space(self) -> Space:
        return Space((Real("zoom", unit="log2", scale=rms_scale(self._bounds, self.p)),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        zoom = stream.uniform("zoom", 1, *self._bounds)
        return Params.of(self.space, {"zoom": zoom}, stream.chance("applied", self.p))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        zoom = params.values["zoom"].to(images.dtype)
        return apply_where(images.clone(), zoom[:, 0] != 0, self._zoomed, zoom)

    def moments(self) -> Moments:
        return uniform_moments("zoom", self._bounds, self.p)

    @property
    def _bounds(self) -> tuple[float, float]:
        return math.log2(self.scale[0]), math.log2(self.scale[1])

    def _zoomed(self, images: Tensor, zoom: Tensor) -> Tensor:
        return affine_warp(images, self.padding_mode, zoom=zoom)
