"""Gamma correction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import Augmentation, Moments
from equissl.augment.batched import column, overwrite
from equissl.augment.validation import check_number, check_range, spread, uniform
from equissl.params import Params, Real, Space
from equissl.random import Stream


@dataclass(frozen=True)
class Gamma(Augmentation):
    """Raise every value to a power, after clipping to [0, 1] (torchvision's ``adjust_gamma``).

    The factor ``gamma`` is the binary logarithm of the exponent, so that corrections one after the other add
    up: 1 squares (darker), -1 takes the root (lighter).

    Args:
        exponent: its range, above 0, drawn uniformly in its logarithm.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Gamma"

    exponent: tuple[float, float] = (0.7, 1 / 0.7)
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_range("Gamma.exponent", self.exponent, 0, above=True)
        check_number("Gamma.probability", self.probability)

    @property
    def space(self) -> Space:
        return Space((Real("gamma", unit="log2", scale=spread(self._bounds, self.probability)),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        gamma = stream.uniform("gamma", 1, *self._bounds)
        return Params.of(self.space, {"gamma": gamma}, stream.chance("applied", self.probability))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        gamma = params.values["gamma"].to(images.dtype)
        return overwrite(images.clone(), gamma[:, 0] != 0, _powered, gamma)

    def moments(self) -> Moments:
        return uniform("gamma", self._bounds, self.probability)

    @property
    def _bounds(self) -> tuple[float, float]:
        return math.log2(self.exponent[0]), math.log2(self.exponent[1])


def _powered(images: Tensor, gamma: Tensor) -> Tensor:
    # torch's pow rounds differently at the end of a vector, which depends on the batch; log and exp do not.
    exponent = (math.log(2) * gamma).exp()
    return images.clamp(0, 1).log_().mul_(column(exponent)).exp_()
