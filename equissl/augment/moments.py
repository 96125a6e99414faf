"""First and second moments of what augmentations sample, and the scales that follow from them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from equissl.params import Params
from equissl.random import Stream

# Factor name, or "NAME/applied" -> first and second moment, float64 (factor.size,) each.
Moments = dict[str, tuple[Tensor, Tensor]]
REFERENCE_SIZE = (64, 64)  # (H, W) of the source that simulated moments are stated for
_NUM_SAMPLES = 1 << 16


def uniform_moments(name: str, bounds: tuple[float, float], p: float, neutral_value: float = 0.0) -> Moments:
    """Moments of a factor that is uniform in ``bounds`` with probability ``p``, else ``neutral_value``."""
    low, high = bounds
    first = p * (low + high) / 2 + (1 - p) * neutral_value
    second = p * _mean_square(low, high) + (1 - p) * neutral_value**2
    return {name: (_float64(first), _float64(second)), **applied_moments(name, p)}


def binary_moments(name: str, p: float) -> Moments:
    """Moments of a factor that is 1 with probability ``p``, else 0."""
    return {name: (_float64(p), _float64(p)), **applied_moments(name, p)}


def permutation_moments(name: str, length: int, p: float) -> Moments:
    """Moments of a permutation that is uniform with probability ``p``, else the one that changes nothing."""
    place = torch.arange(length, dtype=torch.float64)
    first, second = (length - 1) / 2, (length - 1) * (2 * length - 1) / 6
    order = (first * p + (1 - p) * place, second * p + (1 - p) * place.square())
    return {name: order, **applied_moments(name, p)}


def applied_moments(name: str, p: float) -> Moments:
    """Moments of the flag of a factor that is applied with probability ``p``."""
    return {f"{name}/applied": (_float64(p), _float64(p))}


def rms_scale(bounds: tuple[float, float], p: float, neutral_value: float = 0.0) -> float:
    """Root-mean-square distance of a uniform factor from its neutral value; 1 if it is always neutral."""
    square = p * _mean_square(bounds[0] - neutral_value, bounds[1] - neutral_value)
    return math.sqrt(square) if square > 0 else 1.0


def varies(first: Tensor, second: Tensor) -> Tensor:
    """Whether a value with these moments depends on the draw, elementwise."""
    return second - first.square() > 1e-12 * second.abs().clamp(min=1e-30)


def reference_stream(num_samples: int = _NUM_SAMPLES) -> Stream:
    """The fixed random stream of simulated moments."""
    return Stream.of(torch.arange(num_samples), "moments")


def params_moments(params: Params) -> Moments:
    """Empirical moments of sampled parameters: of every factor's values and of its flag."""
    applied = {f"{name}/applied": on[:, None] for name, on in params.applied.items()}
    return empirical_moments({**params.values, **applied})


def empirical_moments(values: Mapping[str, Tensor]) -> Moments:
    """First and second moment over the samples (B) of each value: name -> (B, size)."""
    exact = {name: value.double() for name, value in values.items()}
    return {name: (value.mean(0), value.square().mean(0)) for name, value in exact.items()}


def _mean_square(low: float, high: float) -> float:
    # The mean of x^2 for x uniform in [low, high], in a form that has no division by high - low.
    return (low * low + low * high + high * high) / 3


def _float64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
