"""Gamma correction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.batched import per_image
from equissl.augment.uniform import UniformAugmentation
from equissl.augment.validation import check_range


@dataclass(frozen=True)
class Gamma(UniformAugmentation):
    """Raise every value to a power, after clipping to [0, 1] (torchvision's ``adjust_gamma``).

    The factor ``gamma`` is the binary logarithm of the exponent, so that corrections one after the other add
    up: 1 squares (darker), -1 takes the root (lighter).

    Args:
        gamma: range of the exponent, above 0, log-uniform.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Gamma"
    geometric: ClassVar[bool | None] = False
    units: ClassVar[Mapping[str, str]] = {"gamma": "log2"}

    gamma: tuple[float, float] = (0.7, 1 / 0.7)
    p: float = 1.0

    def __post_init__(self) -> None:
        check_range("Gamma.gamma", self.gamma, 0, exclusive=True)
        super().__post_init__()

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return {"gamma": (math.log2(self.gamma[0]), math.log2(self.gamma[1]))}

    def transform(self, images: Tensor, *values: Tensor) -> Tensor:
        # torch's pow rounds differently at the end of a vector, which depends on the batch; log, exp do not.
        exponent = (math.log(2) * values[0]).exp()
        return images.clamp(0, 1).log_().mul_(per_image(exponent)).exp_()
