"""What an encoder is compared with: features that need no training, computed from the pixels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.encoder.encoder import Encoder

_GREY = (0.299, 0.587, 0.114)
SIDE = 12  # of a thumbnail


class Pixels(nn.Module):
    """A thumbnail: (B, C, H, W) -> (B, C * 144)."""

    def forward(self, images: Tensor) -> Tensor:
        return F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True).flatten(1)


class Luminance(nn.Module):
    """The luminance of a thumbnail (ITU-R BT.601): (B, C, H, W) -> (B, 144)."""

    def forward(self, images: Tensor) -> Tensor:
        return F.interpolate(luminance(images), (SIDE, SIDE), mode="bilinear", antialias=True).flatten(1)


class ImageStatistics(nn.Module):
    """Mean and deviation of each channel and of chroma, sharpness in both directions: (B, C, H, W) -> (B, D).

    Sharpness is the logarithm of the mean absolute difference of neighbouring pixels of the luminance, and
    of second differences. D is 12 for colour images.
    """

    def forward(self, images: Tensor) -> Tensor:
        values = [images.mean((2, 3)), images.std((2, 3))]
        if images.shape[1] == 3:
            chroma = images.amax(1) - images.amin(1)
            values.append(torch.stack([chroma.mean((1, 2)), chroma.std((1, 2))], 1))
        grey = luminance(images)
        for axis in (2, 3):
            first = grey.diff(dim=axis)
            values += [_log_mean(first), _log_mean(first.diff(dim=axis))]
        return torch.cat(values, 1)


REFERENCES: Mapping[str, type[nn.Module]] = {
    "pixels": Pixels,
    "statistics": ImageStatistics,
    "luminance": Luminance,
}


SMALLEST = 3  # pixels of a side, for second differences


def reference(name: str, shape: tuple[int, ...]) -> Encoder:
    """An encoder without weights for images (C, H, W)."""
    channels, height, width = shape
    black, unit = (0.0,) * channels, (1.0,) * channels
    return Encoder(REFERENCES[name](), mean=black, std=unit, probe=(channels, height, width))


def luminance(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 1, H, W); the mean of the channels unless there are three."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    weights = torch.tensor(_GREY, dtype=images.dtype, device=images.device)
    return torch.einsum("bchw,c->bhw", images, weights)[:, None]


def _log_mean(differences: Tensor) -> Tensor:
    return (differences.abs().mean((1, 2, 3)) + 1e-4).log()[:, None]
