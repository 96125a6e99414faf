"""Orbits of augmentations with finitely many values: all elements, or a random one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation, Identity, NativeStep, Orbit
from equissl.augment.geometry.flip import HorizontalFlip
from equissl.augment.geometry.quarter_turn import QuarterTurn
from equissl.augment.moments import Moments, applied_moments
from equissl.augment.validation import check_between
from equissl.params import Params, Space, concatenate
from equissl.random import Stream


@dataclass(frozen=True)
class FullOrbit(Orbit):
    """Every element of an augmentation applied to every image (E-SSL, arXiv:2111.00899, section 3).

    The elements are all values of its factors, all combinations if it has several; the first is the
    neutral one, which leaves the image as it is. The augmentation's probability does not matter.

    Raises:
        ValueError: the augmentation has no factor, or one with infinitely many values.
    """

    augmentation: Augmentation

    def __post_init__(self) -> None:
        _elements(self.augmentation)

    @property
    def space(self) -> Space:
        return self.augmentation.space

    @property
    def order(self) -> int:
        """Number of elements."""
        return len(next(iter(_elements(self.augmentation).values())))

    def expand(self, images: Tensor, params: Params) -> tuple[Tensor, Params]:
        """All images under the first element, then all under the second, ...: B -> order * B."""
        values = {
            name: every.to(images.device, non_blocking=True).repeat_interleave(len(images), 0)
            for name, every in _elements(self.augmentation).items()
        }
        record = concatenate([params] * self.order) | Params.of(self.space, values)
        return self.augmentation.apply(images.repeat(self.order, 1, 1, 1), record), record


def QuarterTurns() -> FullOrbit:
    """E-SSL's four-fold rotation: all quarter turns of square images, counter-clockwise."""
    return FullOrbit(QuarterTurn())


@dataclass(frozen=True)
class RandomElement(Augmentation):
    """One random element of an augmentation with finitely many values.

    E-SSL's orbit with a single sample, or an augmentation to be invariant to.

    Args:
        augmentation: its factors are sampled uniformly, whatever its own probability is.
        p: probability of an element that is not the neutral one, each of which is as likely; by default all
            elements are, the neutral one too.

    Raises:
        ValueError: ``p`` is outside [0, 1]; the augmentation has no factor, or one that takes
            infinitely many values.
    """

    paper: ClassVar[str] = "arXiv:2111.00899"
    stream_name: ClassVar[str] = "RandomElement"

    augmentation: Augmentation
    p: float | None = None

    def __post_init__(self) -> None:
        _elements(self.augmentation)
        check_between("RandomElement.p", self._p)

    @property
    def space(self) -> Space:
        return self.augmentation.space

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        elements = _elements(self.augmentation)
        others = len(next(iter(elements.values()))) - 1
        # Named by its factors: two such steps of one pipeline draw independently.
        stream = stream.fork(" ".join(elements))
        which = 1 + stream.integers("element", others)
        values = {name: every.to(which.device, non_blocking=True)[which] for name, every in elements.items()}
        return Params.of(self.space, values, stream.chance("applied", self._p))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return self.augmentation.apply(images, params)

    def native(self, params: Params) -> NativeStep | None:
        return self.augmentation.native(params)

    def geometric_part(self) -> Augmentation:
        part = self.augmentation.geometric_part()
        return self if part == self.augmentation else Identity()

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return self.augmentation.output_size(size)

    def moments(self) -> Moments:
        moments: Moments = {}
        p = self._p
        for name, every in _elements(self.augmentation).items():
            first, second = every.double(), every.double().square()
            mean, square = (p * v[1:].mean(0) + (1 - p) * v[0] for v in (first, second))
            moments |= {name: (mean, square), **applied_moments(name, p)}
        return moments

    @classmethod
    def example(cls) -> RandomElement:
        return cls(HorizontalFlip())

    @property
    def _p(self) -> float:
        if self.p is not None:
            return self.p
        order = len(next(iter(_elements(self.augmentation).values())))
        return (order - 1) / order


def _elements(augmentation: Augmentation) -> dict[str, Tensor]:
    """Factor name -> its value in every element, (order, factor.size); the neutral element is the first."""
    space = augmentation.space
    if not len(space):
        raise ValueError(f"{type(augmentation).__name__} has no factors, so it has no elements")
    every = [factor.elements() for factor in space]
    index = torch.tensor(list(itertools.product(*(range(len(e)) for e in every))))
    return {factor.name: e[k] for factor, e, k in zip(space, every, index.unbind(1), strict=True)}
