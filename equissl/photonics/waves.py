"""Plane-wave expansion of Maxwell's equations in a two-dimensional unit cell.

Units: wave vectors in 2 pi / a, frequencies in 2 pi c / a, velocities in c. (Method: Johannopoulos et al.,
"Photonic Crystals", 2nd ed. 2008, appendix D; formulas and checks: specs of E-SSL, section 4.7.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from equissl.photonics.lattice import Lattice

Polarisation = Literal["tm", "te"]


@dataclass(frozen=True)
class Operator:
    """A Hermitian matrix that is quadratic in the wave vector: H(k) = constant + kx x + ky y + |k|^2 square.

    Its eigenvalues are squared frequencies.

    Args:
        constant, x, y, square: complex128 (B, P, P) each, one matrix per cell.
    """

    constant: Tensor
    x: Tensor
    y: Tensor
    square: Tensor

    def at(self, k: Tensor) -> Tensor:
        """H at wave vectors (K, 2), Cartesian: (B, K, P, P)."""
        amounts = torch.cat([torch.ones_like(k[:, :1]), k, (k**2).sum(1, keepdim=True)], 1)
        parts = torch.stack([self.constant, self.x, self.y, self.square], 1)
        # One product of real numbers: several times faster than adding up complex matrices.
        flat = torch.view_as_real(parts).flatten(2)
        return torch.view_as_complex((amounts @ flat).view(len(flat), len(k), *parts.shape[2:], 2))

    def restricted(self, basis: Tensor) -> Operator:
        """To the span of orthonormal columns (B, P, R): matrices (B, R, R)."""
        parts = (basis.mH @ (m @ basis) for m in (self.constant, self.x, self.y, self.square))
        return Operator(*parts)

    def __getitem__(self, rows: slice) -> Operator:
        return Operator(self.constant[rows], self.x[rows], self.y[rows], self.square[rows])


@dataclass(frozen=True)
class Bands:
    """The lowest bands at some wave vectors.

    Args:
        frequency: (B, K, n) float64, ascending, in 2 pi c / a.
        velocity: (B, K, n, 2) float64, d frequency / d k in c; 0 where the frequency is 0. Where bands touch
            it is that of the eigenvectors the solver happens to return.
        waves: (B, K, P, n) complex128, orthonormal.
    """

    frequency: Tensor
    velocity: Tensor
    waves: Tensor


def check_cells(epsilon: Tensor, order: int) -> None:
    """
    Raises:
        ValueError: not (B, N, N), N odd or too small for ``order``, or a permittivity below 1 or not finite.
    """
    if epsilon.dim() != 3 or epsilon.shape[1] != epsilon.shape[2]:
        raise ValueError(f"cells must have shape (count, size, size), got {tuple(epsilon.shape)}")
    check_size(epsilon.shape[1], order)
    lowest = float(epsilon.min()) if epsilon.numel() else 1.0
    # Not "lowest < 1", so that a nan is refused too.
    if not (lowest >= 1 and bool(epsilon.isfinite().all())):
        raise ValueError(f"permittivity must be finite and at least 1 everywhere, got {lowest}")


def check_size(size: int, order: int) -> None:
    """
    Raises:
        ValueError: a grid of ``size`` pixels is odd, or too coarse for plane waves up to ``order``.
    """
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
    if size % 2 or size < 4 * order + 2:
        raise ValueError(
            f"size must be even and at least {4 * order + 2} pixels for order {order}, got {size}"
        )


def operator(
    epsilon: Tensor, polarisation: Polarisation = "tm", order: int = 5, lattice: Lattice = Lattice()
) -> Operator:
    """Maxwell's operator of every cell in plane waves G = g1 b1 + g2 b2 with |g1|, |g2| <= ``order``.

    TM (E along z): |k+G|^2 e = omega^2 epsilon e, made an ordinary problem by a Cholesky factor of epsilon.
    TE (H along z): (k+G) . (k+G') eta h = omega^2 h, eta the inverse of the matrix of epsilon (Ho, Chan &
    Soukoulis, PRL 65, 3152, 1990).

    Args:
        epsilon: relative permittivity on the cell's pixels, (B, N, N).

    Raises:
        ValueError: see ``check_cells``, or no such polarisation.
    """
    check_cells(epsilon, order)
    toeplitz, g = _toeplitz(epsilon.double(), order), _waves(order, lattice).to(epsilon.device)
    gx, gy = g[:, 0].to(toeplitz), g[:, 1].to(toeplitz)
    if polarisation == "tm":
        lower = torch.linalg.cholesky(toeplitz)
        eye = torch.eye(len(g), dtype=toeplitz.dtype, device=toeplitz.device).expand_as(lower)
        inverse = torch.linalg.solve_triangular(lower, eye, upper=False)
        parts = (inverse * d @ inverse.mH for d in (gx**2 + gy**2, 2 * gx, 2 * gy, torch.ones_like(gx)))
        return Operator(*parts)
    if polarisation != "te":
        raise ValueError(f"polarisation must be 'tm' or 'te', got {polarisation!r}")
    eta = torch.linalg.inv(toeplitz)
    eta = (eta + eta.mH) / 2
    rows, columns = (gx[:, None], gy[:, None]), (gx[None], gy[None])
    constant = sum((r * eta * c for r, c in zip(rows, columns, strict=True)), torch.zeros_like(eta))
    x, y = (r * eta + eta * c for r, c in zip(rows, columns, strict=True))
    return Operator(constant, x, y, eta)


def solve(problem: Operator, k: Tensor, count: int) -> Bands:
    """The ``count`` lowest bands at wave vectors (K, 2), Cartesian; velocities by Hellmann-Feynman.

    Raises:
        ValueError: ``count`` exceeds the number of plane waves.
    """
    size = problem.constant.shape[-1]
    if not 1 <= count <= size:
        raise ValueError(f"bands must be between 1 and the {size} waves of the basis, got {count}")
    values, vectors = torch.linalg.eigh(problem.at(k))
    waves = vectors[..., :count]
    frequency = values[..., :count].clamp(min=0).sqrt()
    curvature = _mean(waves, problem.square)
    slopes = [
        _mean(waves, part) + 2 * k[:, axis, None] * curvature
        for axis, part in enumerate((problem.x, problem.y))
    ]
    velocity = torch.stack(slopes, -1) / (2 * frequency)[..., None]
    # At k = 0 the lowest frequency is 0 up to rounding; its slope has no direction.
    is_zero = frequency < 1e-6
    return Bands(frequency, velocity.masked_fill(is_zero[..., None], 0.0), waves)


def _mean(waves: Tensor, matrix: Tensor) -> Tensor:
    """y^H M y for every column: (B, K, P, n), (B, P, P) -> (B, K, n)."""
    product = matrix[:, None] @ waves
    mean: Tensor = (waves.conj() * product).sum(-2).real
    return mean


def _waves(order: int, lattice: Lattice) -> Tensor:
    """G vectors (P, 2), Cartesian."""
    return _numbers(order).double() @ lattice.reciprocal


def _numbers(order: int) -> Tensor:
    side = torch.arange(-order, order + 1)
    return torch.cartesian_prod(side, side)


def _toeplitz(epsilon: Tensor, order: int) -> Tensor:
    """Fourier coefficients eps(G - G'): (B, N, N) -> complex128 (B, P, P)."""
    size = epsilon.shape[-1]
    coefficients = torch.fft.fft2(epsilon) / size**2
    numbers = _numbers(order).to(epsilon.device)
    difference = (numbers[:, None] - numbers[None]) % size
    matrix: Tensor = coefficients[:, difference[..., 1], difference[..., 0]]
    return matrix
