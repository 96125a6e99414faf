"""Gaussian blur."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import NativeStep
from equissl.augment.batched import apply_where, pairwise_sum, separable_filter, used_taps
from equissl.augment.uniform import UniformAugmentation
from equissl.augment.validation import check_at_least, check_range
from equissl.params import Params

_NEGLIGIBLE = 1e-12  # smaller weights change nothing, but products with them are denormal and very slow
_LEAST_SIGMA = 1e-3  # pixels; below it the filter is a single weight of 1 in any case


@dataclass(frozen=True)
class GaussianBlur(UniformAugmentation):
    """Convolve with a Gaussian, mirrored at the border (torchvision's GaussianBlur; arXiv:2002.05709, A).

    Args:
        kernel_size: width of the filter in pixels, odd.
        sigma: range of the standard deviation, in pixels of the image that is blurred.

    Raises:
        ValueError: a field is out of its range.
    """

    paper: ClassVar[str] = "arXiv:2002.05709"
    stream_name: ClassVar[str] = "Blur"
    geometric: ClassVar[bool | None] = False
    units: ClassVar[Mapping[str, str]] = {"blur_sigma": "pixels"}
    stream_keys: ClassVar[Mapping[str, str]] = {"blur_sigma": "sigma"}

    kernel_size: int = 23
    sigma: tuple[float, float] = (0.1, 2.0)
    p: float = 0.5

    def __post_init__(self) -> None:
        check_at_least("GaussianBlur.kernel_size", self.kernel_size, 1, 1023)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"GaussianBlur.kernel_size must be odd, got {self.kernel_size}")
        check_range("GaussianBlur.sigma", self.sigma, 0)
        super().__post_init__()

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return {"blur_sigma": self.sigma}

    def native(self, params: Params) -> NativeStep:
        return NativeStep("blur", params.values["blur_sigma"], (self.kernel_size,))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        sigma = params.values["blur_sigma"].to(images.dtype)
        changed = sigma[:, 0] != self.neutral_value
        return apply_where(images, changed, self._filtered, self._weights(sigma))

    def transform(self, images: Tensor, *values: Tensor) -> Tensor:
        return self._filtered(images, self._weights(values[0]))

    def _weights(self, sigma: Tensor) -> Tensor:
        """(B, 1) -> (B, kernel_size)."""
        reach = self.kernel_size // 2
        offset = torch.arange(-reach, reach + 1, device=sigma.device)
        weight = (-0.5 * (offset / sigma.clamp(min=_LEAST_SIGMA)).square()).exp()
        weight = weight / pairwise_sum(weight)[:, None]
        return torch.where(weight < _NEGLIGIBLE, torch.zeros_like(weight), weight)

    def _filtered(self, images: Tensor, weight: Tensor) -> Tensor:
        reach, used = self.kernel_size // 2, used_taps(weight)
        offset = torch.arange(-reach, reach + 1, device=images.device)[used]
        height, width = images.shape[2:]
        rows = _shifted(height, offset, weight[:, None, used])
        columns = rows if width == height else _shifted(width, offset, weight[:, None, used])
        return separable_filter(images, rows, columns)


def _shifted(pixels: int, offset: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The neighbors of every pixel along one side and their weights, (B, pixels, K) each."""
    place = torch.arange(pixels, device=offset.device)[:, None] + offset
    period = max(1, 2 * (pixels - 1))
    place = place.remainder(period)
    index = torch.minimum(place, period - place) if pixels > 1 else torch.zeros_like(place)
    shape = (len(weight), pixels, len(offset))
    return index.expand(shape), weight.expand(shape)
