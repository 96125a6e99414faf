"""Gamma correction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.batched import apply_where, per_image
from equissl.augment.moments import Moments, rms_scale, uniform_moments
from equissl.augment.validation import check_between, check_range
from equissl.params import Params, Real, Space
from equissl.random import Stream


@dataclass(frozen=True)
class Gamma(Augmentation):
    """Raise every value to a power, after clipping to [0, 1] (torchvision's ``adjust_gamma``).

    The factor ``gamma`` is the binary logarithm of the exponent, so that corrections one after the other add
    up: 1 squares (darker), -1 takes the root (lighter).

    Args:
        gamma: range of the exponent, above 0, log-uniform.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Gamma"

    gamma: tuple[float, float] = (0.7, 1 / 0.7)
    p: float = 1.0

    def __post_init__(self) -> None:
        check_range("Gamma.gamma", self.gamma, 0, exclusive=True)
        check_between("Gamma.p", self.p)

    @property
    def space(self) -> Space:
        return Space((Real("gamma", unit="log2", scale=rms_scale(self._bounds, self.p)),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        gamma = stream.uniform("gamma", 1, *self._bounds)
        return Params.of(self.space, {"gamma": gamma}, stream.chance("applied", self.p))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        gamma = params.values["gamma"].to(images.dtype)
        return apply_where(images.clone(), gamma[:, 0] != 0, _powered, gamma)

    def moments(self) -> Moments:
        return uniform_moments("gamma", self._bounds, self.p)

    @property
    def _bounds(self) -> tuple[float, float]:
        return math.log2(self.gamma[0]), math.log2(self.gamma[1])


def _powered(images: Tensor, gamma: Tensor) -> Tensor:
    # torch's pow rounds differently at the end of a vector, which depends on the batch; log and exp do not.
    exponent = (math.log(2) * gamma).exp()
    return images.clamp(0, 1).log_().mul_(per_image(exponent)).exp_()
