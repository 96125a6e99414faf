"""Gaussian noise that a record brings back bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.augment.base import Augmentation, Moments
from equissl.augment.policy import check_number, check_range, spread, uniform
from equissl.augment.rows import column, overwrite
from equissl.params import Params, Real, Space
from equissl.random import Stream

_SEEDS = 1 << 24  # as many as a float32 in [0, 1) tells apart


@dataclass(frozen=True)
class GaussianNoise(Augmentation):
    """Add noise to every value and clip to [0, 1] (torchvision's GaussianNoise).

    ``noise_seed`` names the noise: all of it is a hash of this number, so the record replays on its own. It
    is no quantity to predict; leave it out of a module's factors.

    Args:
        sigma: range of the standard deviation, at least 0.

    Raises:
        ValueError: a field is out of its range.
    """

    sigma: tuple[float, float] = (0.0, 0.1)
    probability: float = 0.5

    def __post_init__(self) -> None:
        check_range("GaussianNoise.sigma", self.sigma, 0)
        check_number("GaussianNoise.probability", self.probability)

    @property
    def space(self) -> Space:
        sigma = spread(self.sigma, self.probability)
        seed = spread((0.0, 1.0), self.probability)
        return Space((Real("noise_sigma", unit="brightness", scale=sigma), Real("noise_seed", scale=seed)))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        sigma = stream.uniform("sigma", 1, *self.sigma)
        values = {"noise_sigma": sigma, "noise_seed": stream.uniform("seed")}
        return Params.of(self.space, values, stream.chance("applied", self.probability))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        sigma, seed = (params.values[name] for name in ("noise_sigma", "noise_seed"))
        return overwrite(images.clone(), sigma[:, 0] > 0, _noisy, sigma, seed)

    def moments(self) -> Moments:
        sigma = uniform("noise_sigma", self.sigma, self.probability)
        return sigma | uniform("noise_seed", (0.0, 1.0), self.probability)


def _noisy(images: Tensor, sigma: Tensor, seed: Tensor) -> Tensor:
    _, c, height, width = images.shape
    # One stream per row of pixels, since a stream's layout is kept for every number of columns.
    rows = torch.arange(c * height, device=images.device)
    index = (seed * _SEEDS).round().long() * (c * height) + rows
    noise = Stream.of(index.flatten(), "gaussian noise").normal("pixels", width)
    amount = column(sigma).to(images.dtype)
    return (images + noise.view(images.shape).to(images.dtype) * amount).clamp_(0, 1)
