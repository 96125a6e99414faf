"""An augmentation with prefixed factor names, so that one pipeline can hold it twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import Augmentation, Identity, NativeStep
from equissl.augment.geometry.flip import HorizontalFlip
from equissl.augment.moments import Moments
from equissl.params import Params, Space
from equissl.random import Stream


@dataclass(frozen=True)
class Prefixed(Augmentation):
    """Another augmentation whose factors are recorded with a prefix: ``rotation`` as ``path_rotation``.

    Raises:
        ValueError: no prefix, or no augmentation.
    """

    stream_name: ClassVar[str] = "Renamed"

    augmentation: Augmentation
    prefix: str = "path_"

    def __post_init__(self) -> None:
        if not self.prefix:
            raise ValueError("Prefixed.prefix must not be empty")
        if not isinstance(self.augmentation, Augmentation):
            raise ValueError(f"Prefixed.augmentation must be an augmentation, got {self.augmentation!r}")

    @property
    def space(self) -> Space:
        return Space(tuple(replace(f, name=self.prefix + f.name) for f in self.augmentation.space))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        sampled = self.augmentation.sample(stream.fork(self.prefix), size)
        values, applied = self._prefixed(sampled.values), self._prefixed(sampled.applied)
        return Params(self.space, values, applied, sampled.count)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return self.augmentation.apply(images, self._unprefixed(params))

    def native(self, params: Params) -> NativeStep | None:
        return self.augmentation.native(self._unprefixed(params))

    def geometric_part(self) -> Augmentation:
        part = self.augmentation.geometric_part()
        return self if part == self.augmentation else Identity()

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return self.augmentation.output_size(size)

    def moments(self) -> Moments:
        return {self.prefix + name: pair for name, pair in self.augmentation.moments().items()}

    def _prefixed(self, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {self.prefix + name: value for name, value in named.items()}

    def _unprefixed(self, params: Params) -> Params:
        """The parameters under the augmentation's own names."""
        space = self.augmentation.space
        values = {n: params.values[self.prefix + n] for n in space.names}
        applied = {n: params.applied[self.prefix + n] for n in space.names}
        return Params(space, values, applied, params.count)

    @classmethod
    def example(cls) -> Prefixed:
        return cls(HorizontalFlip())
