"""RandAugment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.mixtures.operations import Operation, default_operations
from equissl.augment.mixtures.slots import Slots
from equissl.augment.moments import Moments, applied_moments
from equissl.augment.validation import check_at_least, check_between
from equissl.params import Params, Space
from equissl.random import Stream


@dataclass(frozen=True)
class RandAugment(Augmentation):
    """Apply ``num_ops`` random operations in sequence (RandAugment, arXiv:1909.13719).

    Each of ``num_ops`` slots records ``rand_operation_k``, the index of the operation counted from 1 or 0 for
    none, and ``rand_magnitude_k``. None is as likely as any operation (the identity is one of the paper's).
    torchvision shears about the top left corner with nearest-neighbor interpolation; here shears are about
    the center, and everything is bilinear.

    Args:
        num_ops: number of slots, the paper's N.
        magnitude: range within [0, 1]; the paper's M of 30 is (M / 30, M / 30).
        operations: the list, torchvision's by default; ``default_operations`` makes variants.

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

    num_ops: int = 2
    magnitude: tuple[float, float] = (0.3, 0.3)
    operations: tuple[Operation, ...] = default_operations()
    p: float = 1.0

    def __post_init__(self) -> None:
        check_at_least("RandAugment.num_ops", self.num_ops, 1, 64)
        check_between("RandAugment.p", self.p)
        _ = self._slots

    @property
    def space(self) -> Space:
        p = self.p * self._p_filled
        return Space(tuple(f for names in self._names for f in self._slots.factors(names, p)))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        filled = stream.units(**dict.fromkeys((f"{operation} filled" for operation, _ in self._names), 1))
        chosen = self._p_filled > torch.cat(list(filled.values()), 1).T
        values = self._slots.sample(self._names, stream, chosen)
        return Params.of(self.space, values, stream.chance("applied", self.p))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        for operation, magnitude in self._names:
            images = self._slots.apply(images, params.values[operation], params.values[magnitude])
        return images

    def moments(self) -> Moments:
        moments: Moments = {}
        for names in self._names:
            moments |= self._slots.moments(names, self.p * self._p_filled)
            for name in names:
                moments |= applied_moments(name, self.p)
        return moments

    @property
    def _slots(self) -> Slots:
        return Slots("RandAugment", self.operations, self.magnitude)

    @property
    def _names(self) -> list[tuple[str, str]]:
        return [(f"rand_operation_{k}", f"rand_magnitude_{k}") for k in range(1, self.num_ops + 1)]

    @property
    def _p_filled(self) -> float:
        return len(self.operations) / (len(self.operations) + 1)
