"""A class may be renamed without another draw, and a user's class needs no line for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from equissl.augment import HorizontalFlip, Pipeline, RandomResizedCrop
from equissl.augment.base import Augmentation
from equissl.random import Stream


@dataclass(frozen=True)
class Mirror(HorizontalFlip):
    """HorizontalFlip under another name for its class."""

    stream_name: ClassVar[str] = "HorizontalFlip"


@dataclass(frozen=True)
class Unnamed(HorizontalFlip):
    """HorizontalFlip in a stream of its own."""


def flips(step: Augmentation) -> torch.Tensor:
    drawn = Pipeline((RandomResizedCrop(16), step)).sample(Stream.of(torch.arange(200), "names"), (24, 24))
    return drawn.applied["horizontal_flip"]


def test_a_renamed_class_with_the_same_stream_name_draws_the_same() -> None:
    assert torch.equal(flips(Mirror()), flips(HorizontalFlip()))


def test_a_class_without_a_stream_name_has_its_own_name_and_draws() -> None:
    assert Unnamed.stream_name == "Unnamed" and HorizontalFlip.stream_name == "HorizontalFlip"
    assert not torch.equal(flips(Unnamed()), flips(HorizontalFlip()))
