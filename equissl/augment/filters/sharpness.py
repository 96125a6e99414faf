"""Random sharpness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.batched import per_image
from equissl.augment.uniform import UniformAugmentation
from equissl.augment.validation import check_range
from equissl.params import Params

_SIDE_WEIGHT, _CENTER_WEIGHT = 1 / 13, 5 / 13


@dataclass(frozen=True)
class Sharpness(UniformAugmentation):
    """Blend with the image smoothed over 3x3 pixels (torchvision's RandomAdjustSharpness).

    A factor of 0 is smooth, 1 the image itself, 2 sharper. Border pixels keep their values and the result is
    clipped to [0, 1]; images of at most 2 pixels a side are unchanged.

    Args:
        sharpness_factor: range of the factor, at least 0.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Sharpness"
    geometric: ClassVar[bool | None] = False
    units: ClassVar[Mapping[str, str]] = {"sharpness": "factor"}
    neutral_value: ClassVar[float] = 1.0

    sharpness_factor: tuple[float, float] = (0.0, 2.0)
    p: float = 1.0

    def __post_init__(self) -> None:
        check_range("Sharpness.sharpness_factor", self.sharpness_factor, 0)
        super().__post_init__()

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return {"sharpness": self.sharpness_factor}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return images.clone() if min(images.shape[2:]) <= 2 else super().apply(images, params)

    def transform(self, images: Tensor, *values: Tensor) -> Tensor:
        height, width = images.shape[2:]
        smooth = images[:, :, 1:-1, 1:-1] * (_CENTER_WEIGHT - _SIDE_WEIGHT)
        for i in range(3):
            for j in range(3):
                smooth.add_(images[:, :, i : height - 2 + i, j : width - 2 + j] * _SIDE_WEIGHT)
        result = images.clone()
        inner = result[:, :, 1:-1, 1:-1]
        inner.add_((smooth - inner).mul_(per_image(1 - values[0])))
        return result.clamp_(0, 1)
