"""Augmentations whose factors are uniform in a range, and applied together or not."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.batched import apply_where
from equissl.augment.moments import Moments, rms_scale, uniform_moments
from equissl.augment.validation import check_between
from equissl.params import Params, Real, Space
from equissl.random import Stream


class UniformAugmentation(Augmentation):
    """Factors of one number, independent and uniform; with probability ``1 - p`` all are neutral.

    Subclasses are frozen dataclasses with a field ``p``; ``units`` has the unit of each factor. A factor is
    sampled from the random stream's key of its own name, unless ``stream_keys`` has another.
    """

    units: ClassVar[Mapping[str, str]]
    stream_keys: ClassVar[Mapping[str, str]] = {}
    neutral_value: ClassVar[float] = 0.0

    p: float

    def __post_init__(self) -> None:
        check_between(f"{type(self).__name__}.p", self.p)

    @property
    @abstractmethod
    def bounds(self) -> dict[str, tuple[float, float]]:
        """Factor name -> its range, in the order of ``units``."""

    @property
    def space(self) -> Space:
        neutral = self.neutral_value
        scales = {name: rms_scale(bounds, self.p, neutral) for name, bounds in self.bounds.items()}
        return Space(
            tuple(Real(n, unit=u, neutral_value=neutral, scale=scales[n]) for n, u in self.units.items())
        )

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        keys = self.stream_keys
        values = {name: stream.uniform(keys.get(name, name), 1, *b) for name, b in self.bounds.items()}
        return Params.of(self.space, values, stream.chance("applied", self.p))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        values = [params.values[name].to(images.dtype) for name in self.units]
        changed = (torch.cat(values, 1) != self.neutral_value).any(1)
        return apply_where(images, changed, self.transform, *values)

    def moments(self) -> Moments:
        moments: Moments = {}
        for name, bounds in self.bounds.items():
            moments |= uniform_moments(name, bounds, self.p, self.neutral_value)
        return moments

    @abstractmethod
    def transform(self, images: Tensor, *values: Tensor) -> Tensor:
        """The operation on (B, C, H, W), with a value (B, 1) for each factor; the shape stays."""
