"""Tiny stand-ins shared by the tests of evaluations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equissl.augment.base import Augmentation
from equissl.data.base import InMemoryDataset
from equissl.encoder.encoder import Encoder
from equissl.params import Params, Real, Space
from equissl.random import Stream


@dataclass(frozen=True)
class Brighten(Augmentation):
    """Add the same amount to every pixel; ``probability`` of doing it at all."""

    probability: float = 1.0

    @property
    def space(self) -> Space:
        return Space((Real("glow", scale=0.1),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        glow = stream.uniform("glow", low=0.05, high=0.3)
        return Params.of(self.space, {"glow": glow}, stream.chance("on", self.probability))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return images + params.values["glow"][:, :, None, None]


class Means(nn.Module):
    """BatchNorm, dropout, and the mean of each half of each channel: (B, 3, H, W) -> (B, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(3), nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        halves = self.drop(self.norm(images)).unflatten(2, (2, -1))
        means: Tensor = halves.mean((3, 4)).flatten(1)
        return means


def encoder() -> Encoder:
    return Encoder(Means(), {"left": 2, "right": 4}, probe=(3, 8, 8))


def dataset(count: int = 50, classes: int = 3) -> InMemoryDataset:
    """Images whose overall brightness is their known factor "light" and whose tint is their class."""
    stream = Stream.of(torch.arange(count), "small")
    light, label = stream.uniform("light", low=0.1, high=0.5), stream.integers("label", classes)
    pixels = stream.uniform("pixels", 3 * 8 * 8).view(count, 3, 8, 8) * 0.2 + light[:, :, None, None]
    pixels[torch.arange(count), label] += 0.2
    params = Params.of(Space((Real("light"),)), {"light": light})
    names = tuple("abcdefgh"[:classes])
    return InMemoryDataset((pixels * 255).to(torch.uint8), params, label, names)
