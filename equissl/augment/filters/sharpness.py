"""Random sharpness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.batched import apply_where, per_image
from equissl.augment.moments import Moments, rms_scale, uniform_moments
from equissl.augment.validation import check_between, check_range
from equissl.params import Params, Real, Space
from equissl.random import Stream

_SIDE_WEIGHT, _CENTER_WEIGHT = 1 / 13, 5 / 13


@dataclass(frozen=True)
class Sharpness(Augmentation):
    """Blend with the image smoothed over 3x3 pixels (torchvision's RandomAdjustSharpness).

    A factor of 0 is smooth, 1 the image itself, 2 sharper. Border pixels keep their values and the result is
    clipped to [0, 1]; images of at most 2 pixels a side are unchanged.

    Args:
        sharpness_factor: range of the factor, at least 0.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Sharpness"

    sharpness_factor: tuple[float, float] = (0.0, 2.0)
    p: float = 1.0

    def __post_init__(self) -> None:
        check_range("Sharpness.sharpness_factor", self.sharpness_factor, 0)
        check_between("Sharpness.p", self.p)

    @property
    def space(self) -> Space:
        scale = rms_scale(self.sharpness_factor, self.p, neutral_value=1.0)
        return Space((Real("sharpness", unit="factor", neutral_value=1.0, scale=scale),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        factor = stream.uniform("sharpness", 1, *self.sharpness_factor)
        return Params.of(self.space, {"sharpness": factor}, stream.chance("applied", self.p))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        factor = params.values["sharpness"].to(images.dtype)
        if min(images.shape[2:]) <= 2:
            return images.clone()
        return apply_where(images.clone(), factor[:, 0] != 1, _sharpen, factor)

    def moments(self) -> Moments:
        return uniform_moments("sharpness", self.sharpness_factor, self.p, neutral_value=1.0)


def _sharpen(images: Tensor, factor: Tensor) -> Tensor:
    height, width = images.shape[2:]
    smooth = images[:, :, 1:-1, 1:-1] * (_CENTER_WEIGHT - _SIDE_WEIGHT)
    for i in range(3):
        for j in range(3):
            smooth.add_(images[:, :, i : height - 2 + i, j : width - 2 + j] * _SIDE_WEIGHT)
    result = images.clone()
    inner = result[:, :, 1:-1, 1:-1]
    inner.add_((smooth - inner).mul_(per_image(1 - factor)))
    return result.clamp_(0, 1)
