"""The plane-wave solver against MPB's frequencies, an independent solver, and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from equissl.photonics.lattice import Lattice
from equissl.photonics.waves import operator, solve
from equissl.random import Stream


def centres(size: int) -> tuple[Tensor, Tensor]:
    line = (torch.arange(size, dtype=torch.float64) + 0.5) / size - 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    return x, y


def smooth_cell(size: int = 32) -> Tensor:
    """The reference cell of the specs, 4.8."""
    x, y = (2 * math.pi * c for c in centres(size))
    return (5 + 2 * x.cos() + 1.5 * y.cos() + (x + y).cos())[None]


def random_cells(count: int, size: int = 22) -> Tensor:
    stream = Stream.of(torch.arange(count), "cells")
    return stream.uniform("epsilon", size * size, 1.0, 12.0).double().view(count, size, size)


def at(*points: tuple[float, float]) -> Tensor:
    return torch.tensor(points, dtype=torch.float64)


# MPB agrees with these within 6e-5 (specs, 4.8).
REFERENCE = [
    ("tm", (0, 0), [0, 0.414812, 0.428990, 0.451209, 0.468645, 0.620055, 0.641459, 0.668432]),
    ("tm", (0.5, 0), [0.202259, 0.247584, 0.450912, 0.465275, 0.542608, 0.552800, 0.656024, 0.665409]),
    ("tm", (0.5, 0.5), [0.265183, 0.310085, 0.333162, 0.374570, 0.637716, 0.640934, 0.660172, 0.669324]),
    ("tm", (0.13, 0.37), [0.172748, 0.287114, 0.414527, 0.498789, 0.524997, 0.590552, 0.603259, 0.694426]),
    ("te", (0.5, 0), [0.209288, 0.252509, 0.477224, 0.482338, 0.542554, 0.544243, 0.665597, 0.669342]),
    ("te", (0.13, 0.37), [0.181752, 0.299172, 0.429069, 0.498211, 0.531001, 0.599980, 0.605521, 0.706417]),
]


@pytest.mark.parametrize(("polarisation", "k", "wanted"), REFERENCE)
def test_reference_frequencies(polarisation, k, wanted) -> None:
    found = solve(operator(smooth_cell(), polarisation), at(k), 8)
    torch.testing.assert_close(found.frequency[0, 0], torch.tensor(wanted).double(), atol=1e-6, rtol=0)


def test_reference_velocities() -> None:
    wanted = at((0.14018, 0.39459), (0.08665, -0.39615), (-0.36064, 0.11775), (-0.21512, -0.13585))
    found = solve(operator(smooth_cell()), at((0.13, 0.37)), 4).velocity[0, 0]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("polarisation", "k", "wanted", "within"),
    [
        ("tm", (0.5, 0), [0.274715, 0.442514, 0.636001, 0.772298], 3e-3),
        ("tm", (0.5, 0.5), [0.322410, 0.548843, 0.548843, 0.693581], 3e-3),
        # The electric field jumps at the border: without tensor averaging TE converges slowly.
        ("te", (0.5, 0), [0.417536, 0.461712, 0.701340, 0.855082], 0.035),
    ],
)
def test_rods_in_air(polarisation, k, wanted, within) -> None:
    """MPB at resolution 128: rods of radius 0.2 a and permittivity 8.9 in air."""
    x, y = centres(256)
    fine = torch.where(x**2 + y**2 < 0.04, 8.9, 1.0)
    cell = fine.view(32, 8, 32, 8).mean((1, 3))[None]
    found = solve(operator(cell, polarisation), at(k), 4).frequency[0, 0]
    torch.testing.assert_close(found, torch.tensor(wanted).double(), atol=0, rtol=within)


@pytest.mark.parametrize("shape", ["square", "hexagonal"])
@pytest.mark.parametrize("polarisation", ["tm", "te"])
def test_against_a_solver_written_out(polarisation, shape) -> None:
    """Plane waves one by one, Fourier coefficients as sums, scipy's generalised eigenproblem."""
    cell, lattice, order, k = random_cells(1, 14)[0], Lattice(shape), 3, np.array([0.21, -0.34])
    size, numbers = len(cell), range(-order, order + 1)
    waves = [(m, n) for m in numbers for n in numbers]

    def coefficient(m: int, n: int) -> complex:
        return sum(
            float(cell[row, column]) * np.exp(-2j * math.pi * (m * column + n * row) / size)
            for row in range(size)
            for column in range(size)
        ) / (size * size)

    known = {(m, n): coefficient(m, n) for m in range(-2 * order, 2 * order + 1) for n in range(-6, 7)}
    matrix = np.array([[known[a - c, b - d] for c, d in waves] for a, b in waves])
    shifted = np.array(waves) @ lattice.reciprocal.numpy() + k
    if polarisation == "tm":
        values = scipy.linalg.eigh(np.diag((shifted**2).sum(1)), matrix, eigvals_only=True)
    else:
        values = scipy.linalg.eigvalsh((shifted @ shifted.T) * np.linalg.inv(matrix))
    found = solve(operator(cell[None], polarisation, order, lattice), torch.from_numpy(k)[None], 6)
    np.testing.assert_allclose(found.frequency[0, 0].numpy(), np.sqrt(values[:6]), atol=1e-9)


@pytest.mark.parametrize("polarisation", ["tm", "te"])
def test_velocities_are_slopes(polarisation) -> None:
    problem, k, step = operator(random_cells(2), polarisation), at((0.17, 0.29), (-0.4, 0.05)), 1e-5
    found = solve(problem, k, 5).velocity
    for axis in (0, 1):
        move = step * torch.eye(2, dtype=torch.float64)[axis]
        ahead, behind = (solve(problem, k + sign * move, 5).frequency for sign in (1, -1))
        torch.testing.assert_close(found[..., axis], (ahead - behind) / (2 * step), atol=1e-6, rtol=0)


@pytest.mark.parametrize("polarisation", ["tm", "te"])
def test_time_reversal(polarisation) -> None:
    found = solve(operator(random_cells(1), polarisation), at((0.11, 0.31), (-0.11, -0.31)), 8).frequency[0]
    torch.testing.assert_close(found[0], found[1], atol=1e-10, rtol=0)


@pytest.mark.parametrize("shape", ["square", "hexagonal"])
@pytest.mark.parametrize("polarisation", ["tm", "te"])
def test_homogeneous_medium(polarisation, shape) -> None:
    lattice, k = Lattice(shape), at((0.1, 0.2))
    found = solve(operator(torch.full((1, 32, 32), 6.25), polarisation, 5, lattice), k, 6)
    numbers = torch.cartesian_prod(torch.arange(-5, 6), torch.arange(-5, 6)).double()
    lengths = (numbers @ lattice.reciprocal + k).norm(dim=1).sort().values
    torch.testing.assert_close(found.frequency[0, 0], lengths[:6] / 2.5, atol=1e-12, rtol=0)
    torch.testing.assert_close(found.velocity[0, 0].norm(dim=1), torch.full((6,), 0.4).double())


def test_cells_of_a_batch_do_not_meet() -> None:
    cells, k = random_cells(3), at((0.2, 0.1), (0.5, 0.5))
    whole = solve(operator(cells), k, 5).frequency
    alone = torch.cat([solve(operator(cells[i : i + 1]), k, 5).frequency for i in range(3)])
    torch.testing.assert_close(whole, alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("cells", "changes", "message"),
    [
        (torch.full((1, 32, 32), 0.5), {}, "permittivity must be finite and at least 1 everywhere, got 0.5"),
        (torch.full((1, 32, 32), math.nan), {}, "permittivity must be finite"),
        (torch.full((1, 32, 32), math.inf), {}, "permittivity must be finite"),
        (torch.ones(1, 31, 31), {}, "size must be even and at least 22 pixels for order 5, got 31"),
        (torch.ones(1, 20, 20), {}, "at least 22 pixels"),
        (torch.ones(1, 32, 30), {}, "cells must have shape"),
        (torch.ones(32, 32), {}, "cells must have shape"),
        (torch.ones(1, 32, 32), {"polarisation": "tem"}, "polarisation must be 'tm' or 'te'"),
        (torch.ones(1, 32, 32), {"order": 0}, "order must be at least 1"),
    ],
)
def test_mistakes_are_named(cells, changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        operator(cells, **changes)


def test_more_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="bands must be between 1 and the 121 waves"):
        solve(operator(torch.ones(1, 32, 32)), at((0, 0)), 122)
    with pytest.raises(ValueError, match="shape='round' does not exist"):
        Lattice("round")  # type: ignore[arg-type]
