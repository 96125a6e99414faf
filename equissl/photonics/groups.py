"""The 17 plane groups, and symmetrisation of Fourier series under them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.config.validation import Checked
from equissl.errors import nearest
from equissl.photonics.lattice import Lattice

# General positions (International Tables for Crystallography A, 2016): "x" and "y" are fractions of the
# primitive vectors; the first is always the identity.
_P2 = ("x,y", "-x,-y")
_PM = ("x,y", "-x,y")
_PMM = ("x,y", "-x,-y", "-x,y", "x,-y")
_P4 = ("x,y", "-x,-y", "-y,x", "y,-x")
_P3 = ("x,y", "-y,x-y", "-x+y,-x")
_P3M1 = ("-y,-x", "-x+y,y", "x,x-y")
_P31M = ("y,x", "x-y,-y", "-x,-x+y")
_P6 = ("-x,-y", "y,-x+y", "x-y,x")


def _centred(positions: tuple[str, ...]) -> tuple[str, ...]:
    halves = (",".join(f"{part}+1/2" for part in p.split(",")) for p in positions)
    return (*positions, *halves)


_POSITIONS: dict[str, tuple[str, ...]] = {
    "p1": ("x,y",),
    "p2": _P2,
    "pm": _PM,
    "pg": ("x,y", "-x,y+1/2"),
    "cm": _centred(_PM),
    "pmm": _PMM,
    "pmg": (*_P2, "-x+1/2,y", "x+1/2,-y"),
    "pgg": (*_P2, "-x+1/2,y+1/2", "x+1/2,-y+1/2"),
    "cmm": _centred(_PMM),
    "p4": _P4,
    "p4m": (*_P4, "-x,y", "x,-y", "y,x", "-y,-x"),
    "p4g": (*_P4, "-x+1/2,y+1/2", "x+1/2,-y+1/2", "y+1/2,x+1/2", "-y+1/2,-x+1/2"),
    "p3": _P3,
    "p3m1": (*_P3, *_P3M1),
    "p31m": (*_P3, *_P31M),
    "p6": (*_P3, *_P6),
    "p6m": (*_P3, *_P6, *_P3M1, *_P31M),
}
NAMES = tuple(_POSITIONS)
_HEXAGONAL = ("p3", "p3m1", "p31m", "p6", "p6m")
# With one harmonic, level sets of these have a larger group.
_TWO_HARMONICS = ("pg", "cm", "pmg", "pgg", "cmm", "p4", "p4g", "p31m", "p6")


@dataclass(frozen=True)
class Group(Checked):
    """A plane group on its lattice.

    Raises:
        ValueError: no plane group is called that.
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in _POSITIONS:
            raise ValueError(f"no plane group called {self.name!r}; {nearest(self.name, NAMES)}")

    @property
    def lattice(self) -> Lattice:
        """Hexagonal for groups with threefold rotations, else square."""
        return Lattice("hexagonal" if self.name in _HEXAGONAL else "square")

    @property
    def harmonics(self) -> int:
        """The fewest harmonics whose level sets have this group and no larger one."""
        return 2 if self.name in _TWO_HARMONICS else 1

    @property
    def operations(self) -> tuple[Tensor, Tensor]:
        """Symmetry operations as int64 matrices (n, 2, 2) and float64 shifts (n, 2) of (x, y)."""
        read = [[_read(part) for part in p.split(",")] for p in _POSITIONS[self.name]]
        matrices = torch.tensor([[row[:2] for row in rows] for rows in read]).long()
        return matrices, torch.tensor([[row[2] for row in rows] for rows in read], dtype=torch.float64)

    def symmetrised(self, coefficients: Tensor) -> Tensor:
        """The mean over the group of s(r) = Re sum c[m, n] exp(2 pi i (n x + m y)).

        Args:
            coefficients: complex128 (B, 2 F + 1, 2 F + 1) for n and m from -F to F.

        Returns:
            Coefficients of the mean, (B, 4 F + 1, 4 F + 1): threefold rotations double the range.
        """
        count, side = len(coefficients), coefficients.shape[-1]
        reach = side // 2
        numbers = torch.arange(-reach, reach + 1)
        waves = torch.stack(torch.meshgrid(numbers, numbers, indexing="ij")[::-1], -1).view(-1, 2)
        matrices, shifts = self.operations
        wide = 4 * reach + 1
        mean = torch.zeros(count, wide * wide, dtype=torch.complex128)
        for matrix, shift in zip(matrices, shifts, strict=True):
            rotated = waves @ matrix + 2 * reach
            phase = torch.exp(2j * torch.pi * (waves.double() @ shift))
            mean.index_add_(1, rotated[:, 1] * wide + rotated[:, 0], coefficients.flatten(1) * phase)
        return (mean / len(matrices)).view(count, wide, wide)


def _read(text: str) -> tuple[float, float, float]:
    """ "-x+y+1/2" -> its coefficients of x, y and 1."""
    terms = text.replace("-", "+-").split("+")
    x, y = (float(terms.count(v) - terms.count(f"-{v}")) for v in "xy")
    return x, y, 0.5 * terms.count("1/2")
