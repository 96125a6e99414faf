"""Augmentations that record their parameters: ``sample``, then ``apply``; ``Pipeline`` composes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from torch import Tensor

from equissl.augment.moments import REFERENCE_SIZE, Moments, params_moments, reference_stream
from equissl.config.validation import Checked
from equissl.errors import nearest
from equissl.params import Params, Space, merge
from equissl.random import Stream
from equissl.threads import one_thread


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


class Augmentation(Checked, ABC):
    """A random image transform whose randomness is data.

    Subclasses are frozen dataclasses; their fields are the policy (ranges, probabilities) and nothing is
    ever stored on them by ``sample`` or ``apply``.

    ``stream_name`` is the key of the random stream that ``Pipeline`` gives to a step of this class. It is
    part of what a seed means, so it stays when the class is renamed; the class's name if it is not given.

    ``geometric`` says whether it moves pixels (True) or changes their values in place (False); None where
    the two cannot be separated, or nobody said.
    """

    title: ClassVar[str] = ""  # what people call it; the class's name if it is not given
    paper: ClassVar[str] = ""  # "arXiv:..."
    bibtex: ClassVar[str] = ""  # its entry, unless another class with this paper has it
    stream_name: ClassVar[str] = ""
    geometric: ClassVar[bool | None] = None

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "stream_name" not in vars(cls):
            cls.stream_name = cls.__name__

    @property
    @abstractmethod
    def space(self) -> Space:
        """The factors that ``sample`` records, with units, neutral values and scales."""

    @abstractmethod
    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        """Sample parameters, one row per image of ``stream``; ``size`` is the source's (H, W) in pixels."""

    @abstractmethod
    def apply(self, images: Tensor, params: Params) -> Tensor:
        """(B, C, H, W) float in [0, 1] -> (B, C, h, w), a pure function of its arguments.

        ``params`` may hold other augmentations' factors too; only this one's are read. An image's result
        does not depend on the others in the batch.
        """

    def native(self, params: Params) -> NativeStep | None:
        """The operation for ``native.c``; None if it is not implemented there."""
        return None

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (h, w) that a source of (H, W) becomes."""
        return size

    def geometric_part(self) -> Augmentation:
        """What moves pixels, as an augmentation that reads the same parameters; ``Identity`` if nothing does.

        Raises:
            ValueError: it is not known, or cannot be separated from what changes values.
        """
        if self.geometric is None:
            kind = type(self).__name__
            raise ValueError(
                f"{kind} does not tell geometric operations from others; for a class of your own, set "
                f"{kind}.geometric = True (it moves pixels) or False (it changes their values)"
            )
        return self if self.geometric else Identity()

    def moments(self) -> Moments:
        """First and second moments of the values that ``sample`` returns, applied or not.

        Keys are factor names, and "NAME/applied" for the flag of a factor. In closed form where there is
        one; otherwise by simulation with a fixed seed on a source of ``REFERENCE_SIZE``.
        """
        return dict(_simulated_moments(self))

    @classmethod
    def example(cls) -> Augmentation:
        """A small instance for the laws in ``equissl.testing``; override when a field has no default."""
        return cls()


class FixedAugmentation(Augmentation):
    """The same operation for every image, with nothing to record. Subclasses are frozen dataclasses."""

    @property
    def space(self) -> Space:
        return Space()

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        return Params.of(Space(), {}, count=len(stream))

    def moments(self) -> Moments:
        return {}


@dataclass(frozen=True)
class Identity(FixedAugmentation):
    """Leave the image as it is."""

    stream_name: ClassVar[str] = "Identity"
    geometric: ClassVar[bool | None] = False

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return images


@dataclass(frozen=True)
class Pipeline(Augmentation):
    """Augmentations applied one after the other (torchvision's Compose).

    Raises:
        ValueError: a step is no augmentation.

    >>> from equissl import augment
    >>> pipeline = augment.Pipeline((augment.RandomResizedCrop(32), augment.HorizontalFlip()))
    >>> pipeline.space.names
    ('crop_top', 'crop_left', 'crop_height', 'crop_width', 'horizontal_flip')
    >>> pipeline.output_size((64, 48))
    (32, 32)
    """

    stream_name: ClassVar[str] = "Pipeline"

    steps: tuple[Augmentation, ...] = ()

    @property
    def space(self) -> Space:
        return sum((s.space for s in self.steps), Space())

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        sampled = []
        occurrences: Counter[str] = Counter()
        with one_thread():
            for step in self.steps:
                # Keyed by the kind of step, not its position: removing one leaves the others' samples
                # unchanged.
                name = step.stream_name
                occurrences[name] += 1
                k = occurrences[name]
                own = stream.fork(name if k == 1 else f"{name}/{k}")
                sampled.append(step.sample(own, size))
                size = step.output_size(size)
        return merge(sampled, len(stream))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        for step in self.steps:
            images = step.apply(images, params)
        return images

    def geometric_part(self) -> Augmentation:
        return Pipeline(tuple(step.geometric_part() for step in self.steps))

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        for step in self.steps:
            size = step.output_size(size)
        return size

    def moments(self) -> Moments:
        return {name: pair for step in self.steps for name, pair in step.moments().items()}


class Orbit(Checked, ABC):
    """Every element of a finite group applied to every image: B images become B * order."""

    @property
    @abstractmethod
    def space(self) -> Space: ...

    @abstractmethod
    def expand(self, images: Tensor, params: Params) -> tuple[Tensor, Params]:
        """All images under the first element, then all under the second, ...: (order * B, C, H, W)."""


def replay(augmentation: Augmentation, images: Tensor, record: Mapping[str, Tensor]) -> Tensor:
    """Apply recorded parameters, given as plain tensors: factor name -> (B, size).

    Raises:
        ValueError: the record lacks a factor, or a factor does not have one row per image or is not finite.

    >>> import torch
    >>> from equissl import augment
    >>> images = torch.arange(4.0).view(1, 1, 2, 2)
    >>> augment.replay(augment.HorizontalFlip(), images, {"horizontal_flip": torch.ones(1, 1)})
    tensor([[[[1., 0.],
              [3., 2.]]]])
    """
    for name in augmentation.space.names:
        if name not in record:
            kind = type(augmentation).__name__
            raise ValueError(f"{kind} reads {name!r}, which the record lacks; {nearest(name, record)}")
        if len(record[name]) != len(images):
            raise ValueError(f"{name} has {len(record[name])} rows for {len(images)} images")
        if not record[name].isfinite().all():
            raise ValueError(f"{name} holds values that are not finite")
    values = {n: record[n] for n in augmentation.space.names}
    return augmentation.apply(images, Params.of(augmentation.space, values, count=len(images)))


@lru_cache
def _simulated_moments(augmentation: Augmentation) -> Moments:
    return params_moments(augmentation.sample(reference_stream(), REFERENCE_SIZE))
