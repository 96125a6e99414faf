"""Sharpness: away from, or towards, a smoothed image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import Augmentation, Moments
from equissl.augment.batched import column, overwrite
from equissl.augment.validation import check_number, check_range, spread, uniform
from equissl.params import Params, Real, Space
from equissl.random import Stream

_SIDE, _MIDDLE = 1 / 13, 5 / 13


@dataclass(frozen=True)
class Sharpness(Augmentation):
    """CrossAttentionReconstruction with the image smoothed over 3x3 pixels: 0 smooth, 1 as it is, 2 sharper.

    Border pixels stay as they are and the result is clipped to [0, 1] (torchvision's RandomAdjustSharpness);
    images of at most 2 pixels a side are left alone.

    Args:
        factor: range of the blend, at least 0.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Sharpness"

    factor: tuple[float, float] = (0.0, 2.0)
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_range("Sharpness.factor", self.factor, 0)
        check_number("Sharpness.probability", self.probability)

    @property
    def space(self) -> Space:
        scale = spread(self.factor, self.probability, rest=1.0)
        return Space((Real("sharpness", unit="factor", rest=1.0, scale=scale),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        factor = stream.uniform("sharpness", 1, *self.factor)
        return Params.of(self.space, {"sharpness": factor}, stream.chance("applied", self.probability))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        factor = params.values["sharpness"].to(images.dtype)
        if min(images.shape[2:]) <= 2:
            return images.clone()
        return overwrite(images.clone(), factor[:, 0] != 1, _sharpened, factor)

    def moments(self) -> Moments:
        return uniform("sharpness", self.factor, self.probability, rest=1.0)


def _sharpened(images: Tensor, factor: Tensor) -> Tensor:
    height, width = images.shape[2:]
    smooth = images[:, :, 1:-1, 1:-1] * (_MIDDLE - _SIDE)
    for i in range(3):
        for j in range(3):
            smooth.add_(images[:, :, i : height - 2 + i, j : width - 2 + j] * _SIDE)
    result = images.clone()
    inner = result[:, :, 1:-1, 1:-1]
    inner.add_((smooth - inner).mul_(column(1 - factor)))
    return result.clamp_(0, 1)
