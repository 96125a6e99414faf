"""The density of states: its laws, its closed form, and the reduced basis."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from equissl.photonics.cells import cell_kind
from equissl.photonics.dos import Spectrum, density_of_states, empty_lattice, k_grid, smoothed
from equissl.photonics.lattice import Lattice
from equissl.random import Stream

SMALL = Spectrum(grid=11, sigma=0.02)


def cells(name: str, count: int = 2, seed: int = 0) -> Tensor:
    return cell_kind(name).sample(Stream.of(torch.arange(count), seed, name), 32).epsilon.double()


def distance(found: Tensor, wanted: Tensor) -> float:
    """Largest over cells of the paper's relative error."""
    return float(((found - wanted).abs().sum(-1) / wanted.abs().sum(-1)).max())


@pytest.mark.parametrize("shape", ["square", "hexagonal"])
def test_a_homogeneous_medium_is_the_empty_lattice(shape) -> None:
    lattice = Lattice(shape)
    found = density_of_states(torch.full((1, 32, 32), 7.0), Spectrum(), lattice)[0]
    assert distance(found, empty_lattice(Spectrum(), lattice)) < 0.015  # ripples of the k-grid


@pytest.mark.parametrize("polarisation", ["tm", "te"])
def test_the_label_is_invariant(polarisation) -> None:
    """To rolls, quarter turns, mirrors and the scale of the permittivity."""
    spectrum = replace(SMALL, polarisation=polarisation)
    cell = cells("p1")
    wanted = density_of_states(cell, spectrum)
    same = {
        "roll": (cell.roll((5, 11), (1, 2)), 1e-9),
        "scale": (cell * 1.7, 1e-9),
        "turn": (cell.rot90(1, (1, 2)), 2e-3),
        "flip": (cell.flip(2), 2e-3),
        "transpose": (cell.mT, 2e-3),
    }
    for name, (other, within) in same.items():
        assert distance(density_of_states(other, spectrum), wanted) < within, name
    for name in ("turn", "flip"):  # exact, but for the points where the reduced basis is made
        full = density_of_states(cell[:1], SMALL, fast=False)
        other = density_of_states(same[name][0][:1], SMALL, fast=False)
        assert distance(other, full) < 1e-9
    assert distance(density_of_states(cells("p1", seed=1), spectrum), wanted) > 0.01


@pytest.mark.parametrize(("kind", "polarisation"), [("p1", "tm"), ("blob", "te"), ("p6m", "tm")])
def test_the_reduced_basis_changes_little(kind, polarisation) -> None:
    spectrum, lattice = replace(SMALL, polarisation=polarisation), cell_kind(kind).lattice
    cell = cells(kind, 3)
    fast = density_of_states(cell, spectrum, lattice)
    assert distance(fast, density_of_states(cell, spectrum, lattice, fast=False)) < 1e-3


def test_a_cell_does_not_depend_on_its_neighbours() -> None:
    both = cells("p1", 3)
    alone = torch.cat([density_of_states(cell[None], SMALL) for cell in both])
    torch.testing.assert_close(density_of_states(both, SMALL), alone, atol=1e-8, rtol=0)


def test_every_band_integrates_to_one() -> None:
    spectrum = replace(SMALL, bands=5, highest=4.0, frequencies=4001, kept=4001)
    found = density_of_states(cells("pm"), spectrum)
    step = float(spectrum.nu[1])
    # Half of the Gaussian of the modes around frequency 0 is at negative frequencies.
    torch.testing.assert_close(found.sum(1) * step, torch.full((2,), 5.0).double(), atol=2e-3, rtol=0)


def test_the_closed_form_is_the_integral() -> None:
    """Two uniform numbers and a normal one, summed on a fine grid."""
    spectrum = Spectrum(sigma=0.02, highest=1.0, frequencies=201, kept=201)
    centre, half = 0.5, (0.06, 0.03)
    fine = (torch.arange(200, dtype=torch.float64) + 0.5) / 100 - 1
    a, b = (h * fine for h in half)
    offsets = (a[:, None] + b).flatten()
    x = (spectrum.nu[:, None] - centre - offsets) / spectrum.sigma
    wanted = (torch.exp(-0.5 * x**2) / (spectrum.sigma * math.sqrt(2 * math.pi))).mean(1)
    found = smoothed(
        torch.tensor([[centre]]).double(), torch.tensor([[half]]).double(), torch.ones(1).double(), spectrum
    )[0]
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)
    flat = smoothed(
        torch.tensor([[centre]]).double(), torch.zeros(1, 1, 2).double(), torch.ones(1).double(), spectrum
    )
    peak = 1 / (spectrum.sigma * math.sqrt(2 * math.pi))
    assert float(flat.max()) == pytest.approx(peak, rel=1e-4)


@pytest.mark.parametrize("grid", [1, 5, 25])
def test_half_the_grid_stands_for_all(grid) -> None:
    k, weight = k_grid(grid)
    assert len(k) == (grid**2 + 1) // 2 and float(weight.sum()) == pytest.approx(1)
    whole = {tuple(round(float(c) * grid) for c in p) for p in torch.cat([k, -k])}
    assert len(whole) == grid**2 and torch.equal(k[-1], torch.zeros(2).double())


def test_low_frequencies_are_a_cone() -> None:
    """The k-point at 0 stands for the lowest frequencies; without care they pile up at 0."""
    spectrum = Spectrum()
    low = spectrum.nu < 0.1
    found = density_of_states(cells("p1", 3), spectrum)[:, low]
    assert float((found - empty_lattice(spectrum)[low]).abs().max()) < 0.1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"grid": 24}, "grid must be odd"),
        ({"grid": -1}, "grid must be in"),
        ({"order": 0}, "order must be in"),
        ({"bands": 0}, "bands must be 1 ... 121"),
        ({"bands": 122}, "bands must be 1 ... 121"),
        ({"sigma": 0.0}, "sigma must be above 0"),
        ({"kept": 501}, "kept must be 2"),
        ({"polarisation": "x"}, "polarisation=.* does not exist"),
    ],
)
def test_mistakes_are_named(wrong, message) -> None:
    with pytest.raises(ValueError, match=message):
        Spectrum(**wrong)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same() -> None:
    cell = cells("p1", 4)
    on_gpu = density_of_states(cell.cuda(), SMALL).cpu()
    torch.testing.assert_close(on_gpu, density_of_states(cell, SMALL), atol=1e-7, rtol=0)
