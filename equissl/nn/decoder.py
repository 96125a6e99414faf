"""A decoder that is weak on purpose: what it draws must already be in the features."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """
    Args:
        channels: of the linear layer and of the stages but the last; a deeper decoder halves the last one
            on, a shallower one leaves the rest out.
    """

    channels: tuple[int, ...] = (256, 128, 64, 32)

    def __post_init__(self) -> None:
        if not self.channels or min(self.channels) < 1:
            raise ValueError(f"channels must hold at least one width above 0, got {self.channels}")


class WeakDecoder(nn.Module):
    """One linear layer on every place, then convolutions that double the side; (B, width, h, w) in.

    Source: arXiv:2503.18753 has "one linear layer followed by four convolutional layers", weak on purpose.
    Doubling at every stage is inferred (14 * 2^4 = 224); channels, GELU, group norm, bilinear growth and 3x3
    kernels are our choice. There are as many stages as doublings from grid to image, one at least; the last
    one arrives at the image's size whatever it is.
    """

    def __init__(
        self, config: DecoderConfig, width: int, grid: tuple[int, int], size: tuple[int, int], out: int = 3
    ):
        super().__init__()
        self.sizes = stages(grid, size)
        count = len(self.sizes)
        channels = list(config.channels[:count])
        while len(channels) < count:
            channels.append(max(channels[-1] // 2, 8))
        self.linear = nn.Linear(width, channels[0])
        pairs = zip(channels, [*channels[1:], out], strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairs)
        self.norms = nn.ModuleList(nn.GroupNorm(math.gcd(8, c), c) for c in channels[1:])

    def forward(self, grid: Tensor) -> Tensor:
        """(B, width, h, w) -> (B, C, H, W); no activation at the end, so any pixel space can be drawn."""
        x: Tensor = self.linear(grid.movedim(1, 3)).movedim(3, 1)
        for place, (convolution, size) in enumerate(zip(self.convolutions, self.sizes, strict=True)):
            x = convolution(F.interpolate(x, size, mode="bilinear", align_corners=False))
            if place < len(self.norms):
                x = F.gelu(self.norms[place](x))
        return x


def stages(grid: tuple[int, int], size: tuple[int, int]) -> list[tuple[int, int]]:
    """The sizes after each doubling, the last one ``size``."""
    count = max(1, *(math.ceil(math.log2(s / g)) for s, g in zip(size, grid, strict=True)))
    grown = [(grid[0] * 2**k, grid[1] * 2**k) for k in range(1, count)]
    return [*grown, size]
