"""Kernels of pairs of images: what each probe of the audit sees of the features of both."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.random import Stream

PRECISION = 0.01  # of a column's deviation between images
_ROUNDING = 1e-6  # of a column's largest value: what varies less is rounding
_CLAMP = 3.0  # deviations: single outliers would rule the products
_WHITENING = 1e-3  # of the largest variance: what varies less is not blown up further


@dataclass(frozen=True)
class PairFeatures:
    """Features of plain and changed images in units of their deviation between images, with noise added.

    Args:
        plain, changed: (N, D) float64, live columns only.
        live: number of columns that vary.
        width: number of columns in all.
        amplitude: root of the mean squared change, in units of that between two different images.
    """

    plain: Tensor
    changed: Tensor
    live: int
    width: int
    amplitude: float

    @staticmethod
    def of(
        plain: Tensor, changed: Tensor, precision: float = PRECISION, seed: int = 0, view: int = 0
    ) -> PairFeatures:
        """Features (N, D) of both images, read to a precision.

        A column that does not vary by more than rounding is left out. To every number noise is added whose
        deviation is ``precision`` times that of its column, so that a change that is much smaller cannot be
        read.

        Args:
            seed, view: of the noise; the plain images' depends on the seed alone.
        """
        both = torch.stack([plain, changed]).double().flatten(0, 1)
        mean, std = both.mean(0), both.std(0, correction=0)
        alive = std > _ROUNDING * both.abs().amax(0)
        a, b = (((x.double() - mean) / std)[:, alive] for x in (plain, changed))
        squared = (b - a).square().sum(1).mean()
        between = 2 * (a - a.mean(0)).square().sum(1).mean()  # of two different images, on average
        amplitude = float((squared / between.clamp(min=1e-300)).sqrt())
        if precision and a.shape[1]:
            rows = torch.arange(len(a))
            first = Stream.of(rows, seed, "precision").normal("plain", a.shape[1])
            second = Stream.of(rows, seed, "precision", view).normal("changed", a.shape[1])
            a, b = a + precision * first, b + precision * second
        return PairFeatures(a, b, int(alive.sum()), plain.shape[1], amplitude)


def pair_kernels(pairs: PairFeatures) -> tuple[dict[str, Tensor], Tensor]:
    """Kernels (N, N) float64 by the name of their probe, and columns (N, D) for a sparse one.

    "linear" is a linear function of the difference d; "whitened" one of d along its principal axes, each
    with the same variance. "kernel" is (1 + <a, a'>)(1 + <d, d'> + exp(-|d - d'|^2 / 2)) of the plain
    features a and the difference, which holds all products of the two: an angle between two images needs
    them, as cos(q - p) = cos p cos q + sin p sin q. "moved" is the same with columns of d weighted by how
    much they move, instead of equally.
    """
    d = pairs.changed - pairs.plain
    if not d.shape[1]:
        nothing = torch.zeros(len(d), len(d), dtype=torch.float64)
        return {"linear": nothing}, torch.zeros(len(d), 1, dtype=torch.float64)
    z = _standardized(d)
    weighted = (d - d.mean(0)) / d.var(0, correction=0).mean().sqrt().clamp(min=1e-300)
    a = _scaled(_standardized(pairs.plain).clamp(-_CLAMP, _CLAMP))
    products = 1 + a @ a.T
    kernels = {
        "linear": _gram(_scaled(z)),
        "whitened": _whitened(z),
        "kernel": products * _change_kernel(_scaled(z.clamp(-_CLAMP, _CLAMP))),
        "moved": products * _change_kernel(_scaled(weighted)),
    }
    return {name: k / k.diagonal().mean() for name, k in kernels.items()}, z


def image_kernels(pairs: PairFeatures) -> tuple[dict[str, Tensor], Tensor]:
    """The same of the changed images alone: "linear", "whitened" and "kernel", and columns.

    The kernel is 1 + <a, a'> + exp(-|a - a'|^2 / 2).
    """
    a = pairs.changed
    if not a.shape[1]:
        return pair_kernels(pairs)
    z = _standardized(a)
    kernels = {
        "linear": _gram(_scaled(z)),
        "whitened": _whitened(z),
        "kernel": _change_kernel(_scaled(z.clamp(-_CLAMP, _CLAMP))),
    }
    return {name: k / k.diagonal().mean() for name, k in kernels.items()}, z


def joint_kernels(
    pairs: PairFeatures,
    other: PairFeatures,
    kernels: Callable[[PairFeatures], tuple[dict[str, Tensor], Tensor]] = pair_kernels,
) -> dict[str, Tensor]:
    """Kernels of two kinds of features of the same images together, and of the second kind alone.

    Sums of kernels, so that a few columns of one kind do not drown among many of the other.
    """
    own, others = kernels(pairs)[0], kernels(other)[0]
    alone = {f"other {n}": k for n, k in others.items() if n != "whitened"}
    base = others.get("kernel", others["linear"])
    return alone | {n: (k + base) / 2 for n, k in own.items() if n != "whitened"}


def _standardized(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0, correction=0).clamp(min=1e-300)


def _scaled(z: Tensor) -> Tensor:
    return z / math.sqrt(z.shape[1])


def _gram(z: Tensor) -> Tensor:
    return z @ z.T


def _change_kernel(d: Tensor) -> Tensor:
    inner, norms = d @ d.T, d.square().sum(1)
    squared = (norms[:, None] + norms - 2 * inner).clamp(min=0)
    return 1 + inner + (-squared / 2).exp()


def _whitened(z: Tensor) -> Tensor:
    """The kernel of the principal components of ``z``, of equal variance but for the smallest."""
    gram = z @ z.T / len(z)
    values, vectors = torch.linalg.eigh(gram)
    values = values.clamp(min=0)
    weight = values / (values + _WHITENING * values[-1].clamp(min=1e-12))
    kernel: Tensor = (vectors * weight) @ vectors.T
    return kernel
