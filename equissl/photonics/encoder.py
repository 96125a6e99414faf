"""The convolutional network for periodic unit cells; named ``equissl.photonics.encoder:crystal``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

Padding = Literal["periodic", "zeros"]


class CrystalNet(nn.Module):
    """Blocks of convolution, BatchNorm, ReLU and max-pooling, then a perceptron: (B, C, H, W) -> (B, D).

    Source: E-SSL's photonics encoder (arXiv:2111.00899, code), 5.33 million parameters as it stands. The
    original pads with zeros although cells are periodic: it can tell where a cell's border is.

    Args:
        channels: of the blocks.
        pools: side of each block's pooling; a grid that is left at the end is averaged.
        hidden: widths of the perceptron; the last is D.
        kernel: side of the convolutions, odd.
        padding: "periodic" continues the cell beyond its border, "zeros" is the original's.
        colors: C.

    Raises:
        ValueError: a setting is out of its range; images do not fit the pools or the kernel.
    """

    def __init__(
        self,
        channels: Sequence[int] = (64, 256, 256),
        pools: Sequence[int] = (2, 4, 4),
        hidden: Sequence[int] = (1024, 1024),
        kernel: int = 7,
        padding: Padding = "periodic",
        colors: int = 1,
    ):
        super().__init__()
        if len(channels) != len(pools) or not channels or not hidden:
            raise ValueError(f"one pool per block is needed, got channels={channels}, pools={pools}")
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel must be odd and at least 1, got {kernel}")
        if padding not in ("periodic", "zeros"):
            raise ValueError(f"padding must be 'periodic' or 'zeros', got {padding!r}")
        self.kernel, self.pools, self.padding = kernel, tuple(pools), padding
        mode: Literal["circular", "zeros"] = "circular" if padding == "periodic" else "zeros"
        blocks: list[nn.Module] = []
        for before, after, pool in zip((colors, *channels), channels, pools, strict=False):
            conv = nn.Conv2d(before, after, kernel, padding=kernel // 2, padding_mode=mode)
            blocks += [conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True), nn.MaxPool2d(pool)]
        self.blocks = nn.Sequential(*blocks)
        layers: list[nn.Module] = []
        for before, after in zip((channels[-1], *hidden), hidden, strict=False):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        self.perceptron = nn.Sequential(*layers[:-1])

    def forward(self, images: Tensor) -> Tensor:
        self._check(images.shape[2], images.shape[3])
        vector: Tensor = self.perceptron(self.blocks(images).mean((2, 3)))
        return vector

    def _check(self, height: int, width: int) -> None:
        shrunk = math.prod(self.pools)
        if height % shrunk or width % shrunk:
            raise ValueError(f"images of {height}x{width} pixels: sides must be multiples of {shrunk}")
        least = min(height, width) // math.prod(self.pools[:-1])
        if self.padding == "periodic" and self.kernel // 2 > least:
            raise ValueError(f"a kernel of {self.kernel} goes more than once around a grid of side {least}")


def crystal(
    channels: Sequence[int] = (64, 256, 256),
    pools: Sequence[int] = (2, 4, 4),
    hidden: Sequence[int] = (1024, 1024),
    kernel: int = 7,
    padding: Padding = "periodic",
    colors: int = 1,
) -> CrystalNet:
    """What ``encoder.name=equissl.photonics.encoder:crystal`` builds; the options are ``CrystalNet``'s."""
    return CrystalNet(channels, pools, hidden, kernel, padding, colors)
