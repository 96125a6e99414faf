"""Random cells: every plane group is a group and its level sets have it, and no larger one."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from equissl.errors import UserError
from equissl.photonics.cells import MAX_PERMITTIVITY, LevelSet, cell_kind
from equissl.photonics.groups import NAMES, Group
from equissl.random import Stream

ORDERS = dict(zip(NAMES, (1, 2, 2, 2, 4, 4, 4, 4, 8, 4, 8, 8, 3, 6, 6, 6, 12), strict=True))
STREAM = Stream.of(torch.arange(4), "cells")


def elements(name: str) -> set[tuple[tuple[int, ...], tuple[float, ...]]]:
    matrices, shifts = Group(name).operations
    rows = zip(matrices.flatten(1).tolist(), shifts.remainder(1).tolist(), strict=True)
    return {(tuple(m), tuple(s)) for m, s in rows}


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_group_of_isometries(name: str) -> None:
    matrices, shifts = Group(name).operations
    found = elements(name)
    assert len(found) == len(matrices) == ORDERS[name]
    for (a, s), (b, t) in itertools.product(zip(matrices, shifts, strict=True), repeat=2):
        product = (tuple((a @ b).flatten().tolist()), tuple((a.double() @ t + s).remainder(1).tolist()))
        assert product in found
    basis = Group(name).lattice.primitive
    metric = basis @ basis.T
    for matrix in matrices.double():
        torch.testing.assert_close(matrix.T @ metric @ matrix, metric)


def sampled(name: str, points: Tensor, harmonics: int = 0) -> Tensor:
    """The level set's series at any points (n, 2), one wave at a time."""
    group = Group(name)
    reach = harmonics or group.harmonics
    count = (2 * reach + 1) ** 2
    modulus, phase = (STREAM.uniform(n, count).double() for n in ("modulus", "phase"))
    drawn = torch.polar(modulus, 2 * torch.pi * phase).view(-1, 2 * reach + 1, 2 * reach + 1)
    waves = group.symmetrised(drawn)
    total = torch.zeros(len(drawn), len(points), dtype=torch.float64)
    for m, n in itertools.product(range(-2 * reach, 2 * reach + 1), repeat=2):
        angle = 2 * torch.pi * (n * points[:, 0] + m * points[:, 1])
        total += (waves[:, m + 2 * reach, n + 2 * reach, None] * torch.exp(1j * angle)).real
    return total


@pytest.mark.parametrize("name", NAMES)
def test_level_sets_have_their_group_and_no_larger_one(name: str) -> None:
    points = STREAM[torch.tensor([0])].uniform("points", 40).double().view(20, 2)
    wanted, own = sampled(name, points), elements(name)
    same_lattice = [n for n in NAMES if Group(n).lattice == Group(name).lattice]
    everything = set().union(*(elements(n) for n in same_lattice)) | {((1, 0, 0, 1), (0.5, 0.5))}
    for matrix, shift in everything:
        moved = points @ torch.tensor(matrix).double().view(2, 2).T + torch.tensor(shift).double()
        error = (sampled(name, moved) - wanted).abs().amax(1)
        if (matrix, shift) in own:
            assert float(error.max()) < 1e-9
        else:
            assert float(error.max()) > 1e-3, f"{name} also has {matrix}, {shift}"


def test_the_grid_samples_the_series_at_pixel_centres() -> None:
    side = 6
    line = (torch.arange(side).double() + 0.5) / side - 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([x.flatten(), y.flatten()], 1)
    found = LevelSet(Group("p31m")).field(STREAM, side)
    torch.testing.assert_close(found.flatten(1), sampled("p31m", points), atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("pm", lambda c: c.flip(2)),
        ("p2", lambda c: c.rot90(2, (1, 2))),
        ("pmm", lambda c: c.flip(1)),
        ("cm", lambda c: c.roll((16, 16), (1, 2))),
        ("pg", lambda c: c.flip(2).roll(16, 1)),
        ("p4", lambda c: c.rot90(1, (1, 2))),
        ("p4m", lambda c: c.mT),
        ("p4g", lambda c: c.mT.roll((16, 16), (1, 2))),
    ],
)
def test_square_symmetries_are_exact_on_the_array(name, same) -> None:
    cells = cell_kind(name).sample(STREAM, 32).epsilon
    # Rounding may move a fine sample that lies on the border: a 64th of a pixel.
    assert float((same(cells) - cells).abs().max()) < 19 / 64 + 1e-3
    assert float(((same(cells) - cells).abs() > 1e-4).float().mean()) < 1e-2


@pytest.mark.parametrize("kind", ["blob", "gpm", "p1", "p6"])
def test_ranges_and_independence(kind) -> None:
    drawn = cell_kind(kind).sample(Stream.of(torch.arange(40), 3), 16)
    assert drawn.epsilon.shape == (40, 16, 16) and drawn.epsilon.dtype == torch.float32
    assert float(drawn.epsilon.min()) >= 1 and float(drawn.epsilon.max()) <= MAX_PERMITTIVITY
    mean = drawn.fill * drawn.inside + (1 - drawn.fill) * drawn.outside
    torch.testing.assert_close(drawn.epsilon.mean((1, 2)), mean, atol=1e-3, rtol=1e-4)
    assert float(drawn.fill.min()) >= 0 and float(drawn.fill.max()) <= 1 and drawn.fill.std() > 0.1
    few = cell_kind(kind).sample(Stream.of(torch.tensor([7, 2]), 3), 16)
    assert torch.equal(few.epsilon, drawn.epsilon[[7, 2]])


def test_blobs_stay_away_from_the_border() -> None:
    drawn = cell_kind("blob").sample(Stream.of(torch.arange(60), 1), 32)
    edge = drawn.epsilon[:, 0]
    torch.testing.assert_close(edge, drawn.outside[:, None].expand_as(edge))
    middle = drawn.epsilon[:, 15:17, 15:17].mean((1, 2))
    # A strongly dented one may leave a pixel of the middle outside.
    assert float(((middle - drawn.inside).abs() < 1e-3).float().mean()) > 0.9


def test_gpm_is_the_papers_name_of_pm() -> None:
    assert cell_kind("gpm") == cell_kind("pm")


@pytest.mark.parametrize(
    ("name", "harmonics", "message"),
    [
        ("p5", 0, "no such kind of cell"),
        ("p4mm", 0, "no such kind of cell"),
        ("bolb", 0, "did you mean 'blob'"),
        ("pm", -1, "harmonics must be 0 ... 8, got -1"),
    ],
)
def test_mistakes_are_named(name, harmonics, message) -> None:
    with pytest.raises(UserError, match=message):
        cell_kind(name, harmonics)


def test_more_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="size must be even and at least 8"):
        cell_kind("blob").sample(STREAM, 9)
    with pytest.raises(ValueError, match="no plane group called 'p5'"):
        Group("p5")
