"""Gaussian noise that a record brings back bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.batched import apply_where, per_image
from equissl.augment.moments import Moments, applied_moments, rms_scale, uniform_moments
from equissl.augment.validation import check_between, check_range
from equissl.params import Params, Real, Seed, Space
from equissl.random import Stream

_SEEDS = 1 << 24  # whole numbers that float32 holds exactly


@dataclass(frozen=True)
class GaussianNoise(Augmentation):
    """Add noise to every value and clip to [0, 1] (torchvision's GaussianNoise).

    ``noise_seed`` names the noise: all of it is a hash of these numbers, so the record replays on its own.

    Args:
        sigma: range of the standard deviation, at least 0.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "GaussianNoise"
    geometric: ClassVar[bool | None] = False

    sigma: tuple[float, float] = (0.0, 0.1)
    p: float = 0.5

    def __post_init__(self) -> None:
        check_range("GaussianNoise.sigma", self.sigma, 0)
        check_between("GaussianNoise.p", self.p)

    @property
    def space(self) -> Space:
        scale = rms_scale(self.sigma, self.p)
        return Space((Real("noise_sigma", unit="brightness", scale=scale), Seed("noise_seed")))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        sigma = stream.uniform("sigma", 1, *self.sigma)
        values = {"noise_sigma": sigma, "noise_seed": (stream.uniform("seed", 2) * _SEEDS).floor()}
        return Params.of(self.space, values, stream.chance("applied", self.p))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        sigma, seed = (params.values[name] for name in ("noise_sigma", "noise_seed"))
        return apply_where(images, sigma[:, 0] > 0, _noisy, sigma, seed)

    def moments(self) -> Moments:
        p, n = self.p, _SEEDS
        # Of whole numbers 0 ... n - 1, or -1 where there is no noise.
        first, second = p * (n - 1) / 2 - (1 - p), p * (n - 1) * (2 * n - 1) / 6 + (1 - p)
        row = torch.ones(2, dtype=torch.float64)
        seed: Moments = {"noise_seed": (first * row, second * row), **applied_moments("noise_seed", p)}
        return uniform_moments("noise_sigma", self.sigma, p) | seed


def _noisy(images: Tensor, sigma: Tensor, seed: Tensor) -> Tensor:
    _, c, height, width = images.shape
    # One stream per row of pixels, since a stream's layout is kept for every number of columns.
    place = torch.arange(c * height, device=images.device)
    keys = Stream.of(seed[:, 0].long() * _SEEDS + seed[:, 1].long(), "gaussian noise").keys
    noise = Stream.of((keys[:, None] + place).flatten(), "row").normal("pixels", width)
    amount = per_image(sigma).to(images.dtype)
    return (images + noise.view(images.shape).to(images.dtype) * amount).clamp_(0, 1)
