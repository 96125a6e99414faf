"""Density of states of a photonic crystal, and the relative error of predictions of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.config.validation import MAX_WIDTH, Checked, check_bounds
from equissl.photonics.lattice import Lattice
from equissl.photonics.waves import Operator, Polarisation, operator, solve

# k-points of the reduced basis, in fractions of the reciprocal vectors: near k = 0, where TM's lowest mode
# has no velocity, and the corners and midpoints of the zone.
_ANCHORS = ((0.02, 0.01), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5), (0.25, 0.25), (-0.25, 0.25))
_MIN_SINGULAR_VALUE = 1e-4  # relative to the largest; smaller ones are rounding errors
_UNUSED_EIGENVALUE = 1e6  # of unused columns, far above all bands
# |k| over a square of side 1 around 0: its mean, and the half width of the sum of two equal uniform numbers
# that has its variance, 1/6 - mean^2.
_CONE_MEAN = (math.sqrt(2) + math.asinh(1)) / 6
_CONE_HALF = math.sqrt(1.5 * (1 / 6 - _CONE_MEAN**2))
_TAIL = 12.0  # standard deviations beyond which a Gaussian is 0 in float64
_CHUNK_SIZE = 1 << 19  # numbers per chunk of the sum over modes, to bound the memory


@dataclass(frozen=True, kw_only=True)
class Spectrum(Checked):
    """Settings of the density of states; the defaults are E-SSL's where published.

    >>> Spectrum(kept=400).nu.shape
    torch.Size([400])

    Args:
        polarisation: "tm" (the paper's) or "te".
        order: plane waves up to this number along each reciprocal vector, (2 order + 1)^2 in all.
        grid: k-points along each reciprocal vector, odd, cell-centred.
        bands: number of bands; they must reach beyond the largest frequency.
        sigma: standard deviation of the Gaussian smoothing, in units of frequency.
        frequencies: number of frequencies from 0 to ``highest``, of which the first ``kept`` are used.

    Raises:
        ValueError: a field is out of its range.
    """

    polarisation: Polarisation = "tm"
    order: int = 5
    grid: int = 25
    bands: int = 10
    sigma: float = 0.01
    highest: float = 1.2
    frequencies: int = 500
    kept: int = 400

    def __post_init__(self) -> None:
        check_bounds(self, "order", low=1, high=64)
        check_bounds(self, "grid", "frequencies", low=1, high=MAX_WIDTH)
        if self.grid % 2 == 0:
            raise ValueError(
                f"grid must be odd and at least 1, so that k and -k are both in it, got {self.grid}"
            )
        if not 1 <= self.bands <= (2 * self.order + 1) ** 2:
            raise ValueError(
                f"bands must be 1 ... {(2 * self.order + 1) ** 2} at order {self.order}, got {self.bands}"
            )
        check_bounds(self, "sigma", "highest", above=0)
        if not 2 <= self.kept <= self.frequencies:
            raise ValueError(f"kept must be 2 ... frequencies={self.frequencies}, got {self.kept}")

    @property
    def nu(self) -> Tensor:
        """(kept,) float64: normalised frequencies, omega sqrt(mean permittivity), in 2 pi c / a."""
        return torch.linspace(0, self.highest, self.frequencies, dtype=torch.float64)[: self.kept]


def k_grid(grid: int) -> tuple[Tensor, Tensor]:
    """Half of a cell-centred grid over the Brillouin zone, as k and -k have the same frequencies.

    Returns:
        Fractions of the reciprocal vectors (K, 2), and weights (K,) that add up to 1; k = 0 comes last.
    """
    line = (torch.arange(grid, dtype=torch.float64) + 0.5) / grid - 0.5
    half = torch.cartesian_prod(line, line)[: grid**2 // 2 + 1]
    weights = torch.full((len(half),), 2.0 / grid**2, dtype=torch.float64)
    half[-1], weights[-1] = 0.0, 1.0 / grid**2
    return half, weights


def reduced(problem: Operator, lattice: Lattice, bands: int) -> Operator:
    """The operator on the span of the lowest bands at a few wave vectors (reduced Bloch mode expansion).

    Source: Hussein, Proc. R. Soc. A 465, 2825 (2009). Bases of the cells of a batch may differ in rank:
    unused columns get a large eigenvalue.
    """
    anchors = torch.tensor(_ANCHORS, dtype=torch.float64) @ lattice.reciprocal
    modes = solve(problem, anchors.to(problem.constant.device), bands).waves
    stacked = modes.transpose(1, 2).flatten(2)
    basis, sizes, _ = torch.linalg.svd(stacked, full_matrices=False)
    used = sizes > _MIN_SINGULAR_VALUE * sizes[:, :1]
    rank = int(used.sum(1).max())
    used, basis = used[:, :rank], basis[:, :, :rank]
    small = problem.restricted(basis * used[:, None])
    return Operator(
        small.constant + torch.diag_embed(_UNUSED_EIGENVALUE * (~used).to(small.x)),
        small.x,
        small.y,
        small.square,
    )


def density_of_states(
    epsilon: Tensor, spectrum: Spectrum = Spectrum(), lattice: Lattice = Lattice(), *, fast: bool = True
) -> Tensor:
    """Normalised density of states of every cell, at ``spectrum.nu``: (B, N, N) -> float64 (B, kept).

    Frequencies are multiplied by the square root of the cell's mean permittivity, so that the label does not
    depend on the scale of the permittivity and a homogeneous cell gives ``empty_lattice``. Every band adds 1
    to the integral over all frequencies.

    Args:
        fast: use the reduced basis; otherwise solve in all plane waves at every k-point.

    Raises:
        ValueError: a permittivity below 1, an odd grid, or one too coarse for ``spectrum.order``.
    """
    problem = operator(epsilon, spectrum.polarisation, spectrum.order, lattice)
    if fast:
        problem = reduced(problem, lattice, spectrum.bands)
    fractions, weights = (t.to(epsilon.device) for t in k_grid(spectrum.grid))
    reciprocal = lattice.reciprocal.to(epsilon.device)
    bands = solve(problem, fractions @ reciprocal, spectrum.bands)
    scale = epsilon.double().mean((1, 2)).sqrt()[:, None, None]
    centre = bands.frequency * scale
    # A k-point stands for a parallelogram with sides reciprocal / grid, over which the band is taken as flat.
    halves = (bands.velocity @ reciprocal.T).abs() * scale[..., None] / (2 * spectrum.grid)
    centre, halves = _cone(centre, halves, fractions, reciprocal, spectrum.grid)
    weight = weights[:, None].expand(centre.shape[1:]).flatten()
    return smoothed(centre.flatten(1), halves.flatten(1, 2), weight, spectrum)


def smoothed(centre: Tensor, halves: Tensor, weight: Tensor, spectrum: Spectrum) -> Tensor:
    """A sum over modes of boxes convolved twice and with a Gaussian, in closed form.

    Where a band is flat over a parallelogram of the zone, its frequencies are distributed as the sum of two
    uniform numbers; with I(u) = u Phi(u / sigma) + sigma phi(u / sigma) the smoothed density is
    [I(x + a1 + a2) - I(x + a1 - a2) - I(x - a1 + a2) + I(x - a1 - a2)] / (4 a1 a2), x = nu - centre.

    Args:
        centre: (B, M); halves: (B, M, 2) the half widths a1, a2; weight: (M,).

    Returns:
        (B, kept).
    """
    nu = spectrum.nu.to(centre.device)
    a = halves.clamp(min=1e-3 * spectrum.sigma)
    density = weight / (4 * a[..., 0] * a[..., 1])
    wide, narrow = a.sum(-1), a[..., 0] - a[..., 1]
    starts = torch.stack([centre - wide, centre - narrow, centre + narrow, centre + wide], -1).flatten(1)
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64, device=centre.device)
    amounts = (density[..., None] * signs).flatten(1)
    rows = []
    for start, amount in zip(starts, amounts, strict=True):
        visible = (start < nu[-1] + _TAIL * spectrum.sigma).nonzero()[:, 0]
        total = torch.zeros_like(nu)
        for chunk in visible.split(max(1, _CHUNK_SIZE // len(nu))):
            ramps = _ramp((nu - start[chunk, None]) / spectrum.sigma)
            total += amount[chunk] @ ramps
        rows.append(total * spectrum.sigma)
    return torch.stack(rows)


def empty_lattice(spectrum: Spectrum = Spectrum(), lattice: Lattice = Lattice()) -> Tensor:
    """Density of states of a homogeneous medium, 2 pi nu per unit area: float64 (kept,)."""
    return 2 * math.pi * lattice.area * spectrum.nu


def relative_errors(predictions: Tensor, targets: Tensor) -> Tensor:
    """Sum of absolute errors over the sum of the targets, without the lowest quarter of frequencies (E-SSL).

    There crystals hardly differ from the empty lattice. (N, kept), (N, kept) -> (N,).

    >>> targets = torch.ones(1, 8)
    >>> relative_errors(1.5 * targets, targets)
    tensor([0.5000])
    """
    first = targets.shape[-1] // 4
    error, total = (predictions - targets)[:, first:].abs().sum(1), targets[:, first:].abs().sum(1)
    return error / total


def _ramp(u: Tensor) -> Tensor:
    """u Phi(u) + phi(u), the integral of the standard normal distribution function."""
    ramp: Tensor = u * torch.special.ndtr(u) + torch.exp(-0.5 * u**2) * (1 / math.sqrt(2 * math.pi))
    return ramp


def _cone(
    centre: Tensor, halves: Tensor, fractions: Tensor, reciprocal: Tensor, grid: int
) -> tuple[Tensor, Tensor]:
    """Mean and variance of a cone for the lowest band around k = 0, which is not a plane.

    The slope is that of the nearest k-points. On the hexagonal lattice the cell's shape is ignored.
    """
    near = fractions.abs().sum(1).mul(grid).round() == 1
    if not bool(near.any()):  # a grid of one point
        return centre, halves
    distance = (fractions[near] @ reciprocal).norm(dim=1)
    slope = (centre[:, near, 0] / distance).mean(1)
    side = torch.linalg.det(reciprocal).sqrt() / grid
    centre, halves = centre.clone(), halves.clone()
    centre[:, -1, 0] = slope * side * _CONE_MEAN
    halves[:, -1, 0] = (slope * side * _CONE_HALF)[:, None]
    return centre, halves
