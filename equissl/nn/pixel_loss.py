"""Pixel losses of a decoder: the space of its targets, and squared errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from equissl.encoder.encoder import Encoder

TargetSpace = Literal["normalized", "unit"]
Reduction = Literal["mean", "sum"]


@dataclass(frozen=True)
class Reconstruction:
    """Reconstructed images and their targets, (B, C, H, W) each, in [0, 1]."""

    reconstructed: Tensor
    target: Tensor


class PixelSpace(nn.Module):
    """Squared errors of reconstructions, in the encoder's normalized space or in [0, 1].

    Args:
        space: "normalized" (the encoder's mean and standard deviation) or "unit".
        reduction: "mean" over all numbers, or "sum" over each image and mean over images.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder, space: TargetSpace, reduction: Reduction):
        super().__init__()
        self.space, self.reduction, self.channels = space, reduction, len(encoder.mean)
        self.register_buffer("mean", encoder.mean.clone(), persistent=False)
        self.register_buffer("std", encoder.std.clone(), persistent=False)

    def error(self, output: Tensor, images: Tensor) -> Tensor:
        """(B, C, H, W), images (B, C, H, W) in [0, 1] -> ()."""
        target = (images - self.mean) / self.std if self.space == "normalized" else images
        error = (output - target.to(output.dtype)).float().square()
        return error.mean() if self.reduction == "mean" else error.flatten(1).sum(1).mean()

    def to_image(self, output: Tensor) -> Tensor:
        """The decoder's output as images in [0, 1]."""
        image = output * self.std + self.mean if self.space == "normalized" else output
        return image.clamp(0, 1)
