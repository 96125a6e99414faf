"""Small convolutional decoder from a feature grid to pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from equissl.config.validation import Checked, check_widths


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(Checked):
    """
    Args:
        channels: of the linear layer and of all stages but the last. With more stages than entries the last
            entry is halved from stage to stage (at least 8); with fewer the remaining entries are unused.
    """

    channels: tuple[int, ...] = (256, 128, 64, 32)

    def __post_init__(self) -> None:
        check_widths(self, "channels")


class WeakDecoder(nn.Module):
    """Linear layer at every place of the grid, then 3x3 convolutions that double the resolution.

    Source: arXiv:2503.18753 has "one linear layer followed by four convolutional layers", weak on purpose.
    Doubling at every stage is inferred (14 * 2^4 = 224); channels, GELU, group norm, bilinear upsampling and
    3x3 kernels are our choice. There are as many stages as doublings from grid to image, one at least; the
    last one upsamples to the image's size whatever the ratio.

    Args:
        width: channels of the grid.
        grid: (h, w) of the features.
        size: (H, W) of the image.
        out_channels: of the image.
    """

    def __init__(
        self,
        config: DecoderConfig,
        width: int,
        grid: tuple[int, int],
        size: tuple[int, int],
        out_channels: int = 3,
    ):
        super().__init__()
        self.sizes = stage_sizes(grid, size)
        num_stages = len(self.sizes)
        channels = list(config.channels[:num_stages])
        while len(channels) < num_stages:
            channels.append(max(channels[-1] // 2, 8))
        self.linear = nn.Linear(width, channels[0])
        pairs = zip(channels, [*channels[1:], out_channels], strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairs)
        self.norms = nn.ModuleList(nn.GroupNorm(math.gcd(8, c), c) for c in channels[1:])

    def forward(self, grid: Tensor) -> Tensor:
        """(B, width, h, w) -> (B, C, H, W); no final activation, so any pixel space can be the target."""
        x: Tensor = self.linear(grid.movedim(1, 3)).movedim(3, 1)
        for stage, (convolution, size) in enumerate(zip(self.convolutions, self.sizes, strict=True)):
            x = convolution(F.interpolate(x, size, mode="bilinear", align_corners=False))
            if stage < len(self.norms):
                x = F.gelu(self.norms[stage](x))
        return x


def stage_sizes(grid: tuple[int, int], size: tuple[int, int]) -> list[tuple[int, int]]:
    """Resolution after each stage: doubled each time, the last one ``size``."""
    num_stages = max(1, *(math.ceil(math.log2(s / g)) for s, g in zip(size, grid, strict=True)))
    doubled = [(grid[0] * 2**k, grid[1] * 2**k) for k in range(1, num_stages)]
    return [*doubled, size]
