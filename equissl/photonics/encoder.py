"""E-SSL's convolutional network for periodic unit cells (Dangovski et al., 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from equissl.config.validation import MAX_WIDTH, check_widths
from equissl.encoder.backbone import BackboneConfig

Padding = Literal["periodic", "zeros"]


class CrystalNet(nn.Module):
    """Blocks of convolution, BatchNorm, ReLU and max-pooling, then an MLP: (B, C, H, W) -> (B, D).

    Source: E-SSL's photonics encoder (arXiv:2111.00899, code), 5.33 million parameters as it stands. The
    original pads with zeros although cells are periodic, which shows it where a cell's border is.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(BackboneConfig):
        """Settings of the network and its normalisation; C is the length of ``mean``.

        >>> sum(p.numel() for p in CrystalNet.Config().backbone().parameters())
        5331712

        Args:
            channels: of the blocks.
            pools: side of each block's pooling; a grid that is left at the end is averaged.
            hidden: widths of the MLP; the last is D.
            kernel: side of the convolutions, odd.
            padding: "periodic" continues the cell beyond its border, "zeros" is the original's.

        Raises:
            ValueError: a setting is out of its range.
        """

        channels: tuple[int, ...] = (64, 256, 256)
        pools: tuple[int, ...] = (2, 4, 4)
        hidden: tuple[int, ...] = (1024, 1024)
        kernel: int = 7
        padding: Padding = "periodic"
        mean: tuple[float, ...] = (0.0,)
        std: tuple[float, ...] = (1.0,)
        size: int = 32

        def __post_init__(self) -> None:
            super().__post_init__()
            check_widths(self, "channels", "pools", "hidden")
            if len(self.channels) != len(self.pools):
                raise ValueError(
                    f"one pool per block is needed, got channels={self.channels}, pools={self.pools}"
                )
            if not 1 <= self.kernel <= MAX_WIDTH or self.kernel % 2 == 0:
                raise ValueError(f"kernel must be odd and at least 1, got {self.kernel}")

        @property
        def title(self) -> str:
            return f"CrystalNet, {self.padding} padding"

        def backbone(self) -> CrystalNet:
            return CrystalNet(self)

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        channels, hidden = config.channels, config.hidden
        mode: Literal["circular", "zeros"] = "circular" if config.padding == "periodic" else "zeros"
        blocks: list[nn.Module] = []
        for before, after, pool in zip((len(config.mean), *channels), channels, config.pools, strict=False):
            conv = nn.Conv2d(before, after, config.kernel, padding=config.kernel // 2, padding_mode=mode)
            blocks += [conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True), nn.MaxPool2d(pool)]
        self.blocks = nn.Sequential(*blocks)
        layers: list[nn.Module] = []
        for before, after in zip((channels[-1], *hidden), hidden, strict=False):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        self.mlp = nn.Sequential(*layers[:-1])

    def forward(self, images: Tensor) -> Tensor:
        """
        Raises:
            ValueError: images do not fit the pools or the kernel.
        """
        self._check(images.shape[2], images.shape[3])
        vector: Tensor = self.mlp(self.blocks(images).mean((2, 3)))
        return vector

    def _check(self, height: int, width: int) -> None:
        stride = math.prod(self.config.pools)
        if height % stride or width % stride:
            raise ValueError(f"images of {height}x{width} pixels: sides must be multiples of {stride}")
        smallest_grid = min(height, width) // math.prod(self.config.pools[:-1])
        if self.config.padding == "periodic" and self.config.kernel // 2 > smallest_grid:
            raise ValueError(
                f"a kernel of {self.config.kernel} wraps more than once around a grid of side {smallest_grid}"
            )
