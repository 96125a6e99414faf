"""Augmentations that record their parameters: ``sample``, then ``apply``; ``Pipeline`` composes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from equissl.augment.moments import REFERENCE_SIZE, Moments, params_moments, reference_stream
from equissl.errors import nearest
from equissl.params import Params, Space, merge
from equissl.random import Stream


@dataclass(frozen=True)
class NativeStep:
    """One operation for ``native.c``: its kind, its values per image and its constants.

    Args:
        kind: a name of ``augment.native.KINDS``.
        values: (B, columns), the parameters of each image.
        ints, floats: constants of the step, at most two and eight.
        size: (h, w) of the result, None if unchanged.
        filter_radius: of a crop's interpolation filter, in pixels of the result.
    """

    kind: str
    values: Tensor | None = None
    ints: tuple[int, ...] = ()
    floats: tuple[float, ...] = ()
    size: tuple[int, int] | None = None
    filter_radius: int = 1


class Augmentation(ABC):
    """A random image transform whose randomness is data.

    Subclasses are frozen dataclasses; their fields are the policy (ranges, probabilities) and nothing is
    ever stored on them by ``sample`` or ``apply``.

    ``stream_name`` is the key of the random stream that ``Pipeline`` gives to a step of this class. It is
    part of what a seed means, so it stays when the class is renamed; the class's name if it is not given.
    """

    title: ClassVar[str] = ""  # what people call it; the class's name if it is not given
    paper: ClassVar[str] = ""  # "arXiv:..."
    bibtex: ClassVar[str] = ""  # its entry, unless another class with this paper has it
    stream_name: ClassVar[str] = ""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "stream_name" not in vars(cls):
            cls.stream_name = cls.__name__

    @property
    @abstractmethod
    def space(self) -> Space:
        """The factors a draw records, with units, neutral values and closed-form scales."""

    @abstractmethod
    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        """One draw per image of ``stream``, on its device; ``size`` is the source's (H, W) in pixels."""

    @abstractmethod
    def apply(self, images: Tensor, params: Params) -> Tensor:
        """(B, C, H, W) float in [0, 1] -> (B, C, h, w), a pure function of its arguments.

        ``params`` may hold other augmentations' factors too; only this one's are read. An image's result
        does not depend on the others in the batch.
        """

    def native(self, params: Params) -> NativeStep | None:
        """The same as ``apply``, said to ``native.c``; None where it is not written there."""
        return None

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (h, w) that a source of (H, W) becomes."""
        return size

    def moments(self) -> Moments:
        """First and second moment of what ``sample`` stores, over draws that were applied or not.

        Keys are factor names, and "NAME/applied" for the flag of a factor. In closed form where there is
        one; otherwise by simulation with a fixed seed on a source of ``REFERENCE_SIZE``.
        """
        return dict(_simulated_moments(self))

    @classmethod
    def example(cls) -> Augmentation:
        """A small instance for the laws in ``equissl.testing``; override when a field has no default."""
        return cls()


@dataclass(frozen=True)
class Identity(Augmentation):
    """Leave the image as it is."""

    stream_name: ClassVar[str] = "Identity"

    @property
    def space(self) -> Space:
        return Space()

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        return Params.of(Space(), {}, count=len(stream))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return images

    def moments(self) -> Moments:
        return {}


@dataclass(frozen=True)
class Pipeline(Augmentation):
    """Several augmentations, one after the other.

    Raises:
        ValueError: a step is no augmentation.
    """

    stream_name: ClassVar[str] = "Pipeline"

    steps: tuple[Augmentation, ...] = ()

    def __post_init__(self) -> None:
        check_steps("Pipeline.steps", self.steps)

    @property
    def space(self) -> Space:
        return sum((s.space for s in self.steps), Space())

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        drawn = []
        seen: Counter[str] = Counter()
        for step in self.steps:
            # Keyed by what a step is, not by its place: taking one out leaves the other draws as they were.
            name = step.stream_name
            seen[name] += 1
            own = stream.fork(name if seen[name] == 1 else f"{name}/{seen[name]}")
            drawn.append(step.sample(own, size))
            size = step.output_size(size)
        return merge(drawn, len(stream))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        for step in self.steps:
            images = step.apply(images, params)
        return images

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        for step in self.steps:
            size = step.output_size(size)
        return size

    def moments(self) -> Moments:
        return {name: pair for step in self.steps for name, pair in step.moments().items()}


@runtime_checkable
class Orbit(Protocol):
    """Every element of a finite group applied to every image: B images become B * order."""

    @property
    def space(self) -> Space: ...

    def expand(self, images: Tensor, params: Params) -> tuple[Tensor, Params]:
        """All images under the first element, then all under the second, ...: (order * B, C, H, W)."""
        ...


def replay(augmentation: Augmentation, images: Tensor, record: Mapping[str, Tensor]) -> Tensor:
    """Apply a record of plain tensors, as read from a table: factor name -> (B, size).

    Raises:
        ValueError: the record lacks a factor, or one has not a row for each image.
    """
    for name in augmentation.space.names:
        if name not in record:
            kind = type(augmentation).__name__
            raise ValueError(f"{kind} reads {name!r}, which the record lacks; {nearest(name, record)}")
        if len(record[name]) != len(images):
            raise ValueError(f"{name} has {len(record[name])} rows for {len(images)} images")
    values = {n: record[n] for n in augmentation.space.names}
    return augmentation.apply(images, Params.of(augmentation.space, values, count=len(images)))


def check_steps(field: str, steps: tuple[Augmentation, ...]) -> None:
    """
    Raises:
        ValueError: ``steps`` is no tuple of augmentations.
    """
    if not isinstance(steps, tuple) or not all(isinstance(step, Augmentation) for step in steps):
        raise ValueError(f"{field} must be a tuple of augmentations, got {steps!r}")


@lru_cache
def _simulated_moments(augmentation: Augmentation) -> Moments:
    return params_moments(augmentation.sample(reference_stream(), REFERENCE_SIZE))
