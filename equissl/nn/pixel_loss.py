"""Squared error between reconstructed and target images, in the encoder's normalised pixels or in [0, 1]."""

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


class PixelLoss(nn.Module):
    """Mean squared error of reconstructed images.

    Args:
        encoder: its mean and standard deviation normalise the targets.
        space: "normalized" pixels, as the encoder's input, or the "unit" interval.
        reduction: "mean" over all numbers, or "sum" over each image and mean over images.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder, space: TargetSpace, reduction: Reduction):
        super().__init__()
        self.space, self.reduction, self.channels = space, reduction, len(encoder.mean)
        self.register_buffer("mean", encoder.mean.clone(), persistent=False)
        self.register_buffer("std", encoder.std.clone(), persistent=False)

    def forward(self, reconstructed: Tensor, images: Tensor) -> Tensor:
        """Reconstructed (B, C, H, W) in ``space`` and images (B, C, H, W) in [0, 1] -> ()."""
        targets = (images - self.mean) / self.std if self.space == "normalized" else images
        error = (reconstructed - targets.to(reconstructed.dtype)).float().square()
        return error.mean() if self.reduction == "mean" else error.flatten(1).sum(1).mean()

    def to_image(self, reconstructed: Tensor) -> Tensor:
        """Reconstructed pixels as images in [0, 1]."""
        images = reconstructed * self.std + self.mean if self.space == "normalized" else reconstructed
        return images.clamp(0, 1)
