"""The pixels a decoder is asked for: in which numbers, and how wrong a drawing is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from equissl.encoder.encoder import Encoder

TargetSpace = Literal["normalized", "unit"]
Reduction = Literal["mean", "sum"]


@dataclass(frozen=True)
class Drawing:
    """What was drawn and what should have been, (B, C, H, W) each, in [0, 1] up to errors of the drawing."""

    drawn: Tensor
    target: Tensor


class PixelSpace(nn.Module):
    """Squared errors of drawings, in the numbers that the encoder sees or in [0, 1].

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

    def error(self, drawn: Tensor, images: Tensor) -> Tensor:
        """(B, C, H, W), images (B, C, H, W) in [0, 1] -> ()."""
        wanted = (images - self.mean) / self.std if self.space == "normalized" else images
        error = (drawn - wanted.to(drawn.dtype)).float().square()
        return error.mean() if self.reduction == "mean" else error.flatten(1).sum(1).mean()

    def shown(self, drawn: Tensor) -> Tensor:
        """A drawing as an image in [0, 1]."""
        image = drawn * self.std + self.mean if self.space == "normalized" else drawn
        return image.clamp(0, 1)
