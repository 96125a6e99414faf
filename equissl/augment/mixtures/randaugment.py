"""RandAugment: a few operations out of a list, recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import Augmentation, Moments
from equissl.augment.mixtures.operations import Operation, usual_operations
from equissl.augment.mixtures.slots import Slots
from equissl.augment.validation import check_at_least, check_number, check_whole, flag
from equissl.params import Params, Space
from equissl.random import Stream


@dataclass(frozen=True)
class RandAugment(Augmentation):
    """A few operations out of a list, one after the other (arXiv:1909.13719).

    Each of ``count`` slots records ``rand_operation_k``, 0 for none, else the operation's number from 1, and
    ``rand_magnitude_k``. None is as likely as any operation (the identity is one of the paper's).
    torchvision shears about the top left corner and looks up the nearest pixel; this shears about the
    centre, and everything is bilinear.

    Args:
        count: of slots, the paper's N.
        magnitude: range within [0, 1]; the paper's M of 30 is (M / 30, M / 30).
        operations: the list, torchvision's by default; ``usual_operations`` makes variants.

    Raises:
        ValueError: a field is out of its range.
    """

    paper: ClassVar[str] = "arXiv:1909.13719"
    bibtex: ClassVar[str] = r"""
    @inproceedings{randaugment2020,
      title = {{RandAugment: Practical Automated Data Augmentation with a Reduced Search Space}},
      author = {Cubuk, Ekin D. and Zoph, Barret and Shlens, Jonathon and Le, Quoc V.},
      booktitle = {Advances in Neural Information Processing Systems},
      year = {2020},
      eprint = {1909.13719},
      archivePrefix = {arXiv},
    }
    """
    stream_name: ClassVar[str] = "RandAugment"

    count: int = 2
    magnitude: tuple[float, float] = (0.3, 0.3)
    operations: tuple[Operation, ...] = usual_operations()
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_whole("RandAugment.count", self.count)
        check_at_least("RandAugment.count", self.count, 1)
        check_number("RandAugment.probability", self.probability)
        _ = self._slots

    @property
    def space(self) -> Space:
        share = self.probability * self._share
        return Space(tuple(f for names in self._names for f in self._slots.factors(names, share)))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        values: dict[str, Tensor] = {}
        for names in self._names:
            filled = stream.chance(f"{names[0]} filled", self._share)
            values |= self._slots.draw(names, stream, filled)
        return Params.of(self.space, values, stream.chance("applied", self.probability))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        for operation, magnitude in self._names:
            images = self._slots.apply(images, params.values[operation], params.values[magnitude])
        return images

    def moments(self) -> Moments:
        moments: Moments = {}
        for names in self._names:
            moments |= self._slots.moments(names, self.probability * self._share)
            for name in names:
                moments |= flag(name, self.probability)
        return moments

    @property
    def _slots(self) -> Slots:
        return Slots("RandAugment", self.operations, self.magnitude)

    @property
    def _names(self) -> list[tuple[str, str]]:
        return [(f"rand_operation_{k}", f"rand_magnitude_{k}") for k in range(1, self.count + 1)]

    @property
    def _share(self) -> float:
        return len(self.operations) / (len(self.operations) + 1)
