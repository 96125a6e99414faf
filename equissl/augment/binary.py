"""Augmentations that are applied or not, recorded as one binary factor."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import Augmentation, NativeStep
from equissl.augment.batched import apply_where
from equissl.augment.moments import Moments, binary_moments
from equissl.augment.validation import check_between
from equissl.params import Binary, Params, Space
from equissl.random import Stream


class BinaryAugmentation(Augmentation):
    """A fixed operation that is applied to an image with probability ``p``: a flip, an inversion.

    Subclasses are frozen dataclasses with a field ``p`` that name the binary ``factor`` they record.
    """

    factor: ClassVar[str]
    native_kind: ClassVar[str] = ""  # its name in native.c, if it is implemented there

    p: float

    def __post_init__(self) -> None:
        check_between(f"{type(self).__name__}.p", self.p)

    @property
    def space(self) -> Space:
        return Space((Binary(self.factor),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        applied = stream.chance("applied", self.p)
        return Params.of(self.space, {self.factor: applied[:, None].float()}, applied)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return apply_where(images, binary_mask(params, self.factor), self.transform)

    def native(self, params: Params) -> NativeStep | None:
        return NativeStep(self.native_kind, params.values[self.factor]) if self.native_kind else None

    def moments(self) -> Moments:
        return binary_moments(self.factor, self.p)

    @abstractmethod
    def transform(self, images: Tensor) -> Tensor:
        """The operation, applied to all of ``images`` (B, C, H, W); the shape stays."""


def binary_mask(params: Params, name: str) -> Tensor:
    """Where a binary factor is 1, bool (B,)."""
    return params.values[name][:, 0] > 0.5
