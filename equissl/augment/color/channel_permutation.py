"""Color channels in another order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.moments import Moments, permutation_moments
from equissl.augment.validation import check_between
from equissl.params import Params, Permutation, Space
from equissl.random import Stream

_COUNT = 3


@dataclass(frozen=True)
class ChannelPermutation(Augmentation):
    """Put the three channels in a random order (torchvision's RandomChannelPermutation).

    Entry k of the factor ``channel_order`` is the channel that comes k-th. All six orders are equally likely,
    the one that changes nothing too.

    Raises:
        ValueError: ``p`` is outside [0, 1], or an image does not have three channels.
    """

    stream_name: ClassVar[str] = "ChannelPermutation"
    geometric: ClassVar[bool | None] = False

    p: float = 1.0

    def __post_init__(self) -> None:
        check_between("ChannelPermutation.p", self.p)

    @property
    def space(self) -> Space:
        return Space((Permutation("channel_order", length=_COUNT),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        order = stream.permutation("order", _COUNT).float()
        applied = stream.chance("applied", self.p)
        return Params.of(self.space, {"channel_order": order}, applied)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        if images.shape[1] != _COUNT:
            raise ValueError(f"color operations need images with 3 channels, got {images.shape[1]}")
        order = params.values["channel_order"].round().long()
        return images.gather(1, order[:, :, None, None].expand_as(images))

    def moments(self) -> Moments:
        return permutation_moments("channel_order", _COUNT, self.p)
