"""Random unit cells: centred blobs, and level sets with the symmetry of any plane group."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.config.validation import Checked
from equissl.errors import UserError, nearest
from equissl.photonics.groups import NAMES, Group
from equissl.photonics.lattice import Lattice
from equissl.random import Stream

MAX_PERMITTIVITY = 20.0  # permittivities are uniform in [1, MAX_PERMITTIVITY]
_SUPERSAMPLING = 8  # samples per pixel and axis, averaged: right for TM, whose field is continuous


@dataclass(frozen=True)
class Cells:
    """Unit cells and the parameters of their materials.

    Args:
        epsilon: relative permittivity, float32 (B, size, size), rows along y, sampled at pixel centres, so
            that flips and quarter turns of the array are exact symmetries of a square cell.
        inside, outside: permittivities of the two materials, float32 (B,).
        fill: area fraction of "inside", float32 (B,).
    """

    epsilon: Tensor
    inside: Tensor
    outside: Tensor
    fill: Tensor


class CellKind(Checked, ABC):
    """Distribution of random unit cells of two materials."""

    @property
    def lattice(self) -> Lattice:
        return Lattice()

    @abstractmethod
    def inside(self, stream: Stream, side: int) -> Tensor:
        """Mask of "inside" on a fine grid, bool (B, side, side)."""

    def sample(self, stream: Stream, size: int) -> Cells:
        """One cell per image of ``stream``; a cell does not depend on the others.

        Raises:
            ValueError: ``size`` is not even and at least 8.
        """
        if size < 8 or size % 2:
            raise ValueError(f"size must be even and at least 8 pixels, got {size}")
        covered = self.inside(stream, size * _SUPERSAMPLING).float()
        cover = covered.view(-1, size, _SUPERSAMPLING, size, _SUPERSAMPLING).mean((2, 4))
        one, other = (stream.uniform(name, 1, 1.0, MAX_PERMITTIVITY) for name in ("inside", "outside"))
        mixed = (cover * one[..., None] + (1 - cover) * other[..., None]).clamp(1.0, MAX_PERMITTIVITY)
        return Cells(mixed, one[:, 0], other[:, 0], cover.mean((1, 2)))


@dataclass(frozen=True)
class LevelSet(CellKind):
    """Super-level set of a random Fourier series with the symmetry of a plane group.

    Coefficients have moduli uniform in (0, 1) and uniform phases, the fraction below the level is uniform in
    (0.01, 0.99) (Loh et al., Nature Communications 13, 4223, 2022, for p1; E-SSL's Gpm is pm).

    Args:
        group: its symmetry; the five with threefold rotations sit on the hexagonal lattice.
        harmonics: of the series along each axis, 0 for the fewest that have the group and no larger one.

    Raises:
        ValueError: ``harmonics`` is negative or above 8.
    """

    group: Group = Group("pm")
    harmonics: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.harmonics <= 8:
            raise ValueError(f"harmonics must be 0 ... 8, got {self.harmonics}")

    @property
    def lattice(self) -> Lattice:
        return self.group.lattice

    def inside(self, stream: Stream, side: int) -> Tensor:
        field = self.field(stream, side)
        fraction = stream.uniform("fill", 1, 0.01, 0.99)[:, 0]
        ordered = field.flatten(1).sort().values
        rank = (fraction.double() * (side * side - 1)).long()[:, None]
        return field > ordered.gather(1, rank)[..., None]

    def field(self, stream: Stream, side: int) -> Tensor:
        """The series at the centres of a fine grid, float64 (B, side, side)."""
        reach = self.harmonics or self.group.harmonics
        count = (2 * reach + 1) ** 2
        modulus, phase = (stream.uniform(name, count).double() for name in ("modulus", "phase"))
        coefficients = torch.polar(modulus, 2 * math.pi * phase).view(-1, 2 * reach + 1, 2 * reach + 1)
        waves = self.group.symmetrised(coefficients)
        position = (torch.arange(side, dtype=torch.float64) + 0.5) / side - 0.5
        numbers = torch.arange(-2 * reach, 2 * reach + 1, dtype=torch.float64)
        grid = torch.exp(2j * math.pi * position[:, None] * numbers)
        return (grid @ waves @ grid.T).real


@dataclass(frozen=True)
class Blob(CellKind):
    """One smooth star-shaped rod in the centre (our own generator; the paper's is unpublished).

    r(theta) = r0 (1 + sum over m <= 5 of b_m cos(m theta + phi_m)), r0 uniform in (0.1, 0.4), b_m normal with
    deviation 0.25 / m, kept within 0.02 and 0.45 periods.
    """

    def inside(self, stream: Stream, side: int) -> Tensor:
        radius = stream.uniform("radius", 1, 0.1, 0.4)
        waves = torch.arange(1.0, 6.0)
        bumps = stream.normal("bumps", 5) * 0.25 / waves
        phases = stream.uniform("phases", 5, 0.0, 2 * math.pi)
        position = (torch.arange(side) + 0.5) / side - 0.5
        y, x = torch.meshgrid(position, position, indexing="ij")
        angle, distance = torch.atan2(y, x), torch.hypot(y, x)
        # cos(m t + p) = cos(p) cos(m t) - sin(p) sin(m t), so that the angles are the same for all cells.
        turns = angle.flatten() * waves[:, None]
        shape = (bumps * phases.cos()) @ turns.cos() - (bumps * phases.sin()) @ turns.sin()
        border = (radius * (1 + shape)).clamp(0.02, 0.45)
        return distance < border.view(-1, side, side)


def cell_kind(name: str, harmonics: int = 0) -> CellKind:
    """The distribution called ``name``: "blob", a plane group, or "gpm", the paper's name for pm.

    >>> cell_kind("p4m").lattice.shape
    'square'

    Raises:
        UserError: there is no such kind, or ``harmonics`` is out of range.
    """
    try:
        if name == "blob":
            return Blob()
        if name in ("gpm", *NAMES):
            return LevelSet(Group("pm" if name == "gpm" else name), harmonics)
    except ValueError as error:
        raise UserError(str(error)) from error
    raise UserError(f"kind={name}: no such kind of cell; {nearest(name, ('blob', 'gpm', *NAMES))}")
