"""Photonic crystals: unit cells as single-channel images, and their densities of states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from equissl.data.base import Data, Dataset, Split
from equissl.data.batch import Batch
from equissl.errors import UserError
from equissl.params import Params, Real, Space
from equissl.photonics.cells import HIGHEST
from equissl.photonics.dos import Spectrum
from equissl.photonics.generate import Plan, generate, load
from equissl.progress import Progress, no_progress

_UNIT = "relative permittivity"
SPACE = Space(
    (
        Real("inside", neutral_value=(1 + HIGHEST) / 2, scale=5.5, unit=_UNIT),
        Real("outside", neutral_value=(1 + HIGHEST) / 2, scale=5.5, unit=_UNIT),
        Real("fill", neutral_value=0.5, scale=0.3, unit="fraction"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Crystals(Data):
    """Unit cells from a file of ``equissl render photonics``, as (permittivity - 1) / 19 in [0, 1].

    Cells stand in the file with the labelled ones last; the last of those are the test split.

    Args:
        path: the file.
        plan: what to write into the file when it is opened and is not there; a file that is there must be
            of this plan. None: the file must be there (make it first where several processes train).
        size: side of the cells in pixels, as in the file.
        test: cells of the test split.

    Raises:
        ValueError: ``test`` is below 1.
    """

    paper: ClassVar[str] = "arXiv:2111.00899"
    path: str = "crystals.safetensors"
    plan: Plan | None = None
    size: int = 32
    test: int = 500

    def __post_init__(self) -> None:
        if self.test < 1:
            raise ValueError(f"test must be at least 1, got {self.test}")

    @property
    def spaces(self) -> Mapping[str, Space]:
        return {"image": SPACE}

    def open(self, split: Split, progress: Progress = no_progress) -> CrystalSet:
        path = Path(self.path)
        if self.plan is not None and not path.exists():
            generate(self.plan, path, progress=progress)
        stored = load(path)
        plan = stored.plan
        if self.plan not in (None, plan):
            raise UserError(f"data.path={self.path} holds other crystals than data.plan says; choose another")
        if plan.size != self.size:
            raise UserError(f"data.size={self.size}, but the cells in {self.path} have {plan.size} pixels")
        if self.test >= plan.count:
            raise UserError(f"data.test={self.test}, but {self.path} holds {plan.count} cells in all")
        border = plan.count - self.test
        rows = slice(0, border) if split == "train" else slice(border, plan.count)
        spectra = torch.full((plan.count, plan.spectrum.kept), torch.nan)
        spectra[plan.count - plan.labels :] = stored.dos
        values = {n: getattr(stored, n)[rows, None].clone() for n in SPACE.names}
        images = ((stored.epsilon[rows, None] - 1) / (HIGHEST - 1)).clamp(0, 1)
        return CrystalSet(images, spectra[rows], Params.of(SPACE, values), plan)

    @classmethod
    def example(cls, folder: Path) -> Crystals:
        path = folder / "crystals.safetensors"
        spectrum = Spectrum(order=1, grid=3, bands=4, kept=20)
        generate(Plan(kind="blob", count=12, labelled=8, size=8, spectrum=spectrum), path)
        return cls(path=str(path), size=8, test=4)


@dataclass(frozen=True)
class CrystalSet(Dataset):
    """A split of crystals in memory.

    Args:
        images: float32 (N, 1, size, size) in [0, 1].
        spectra: normalised density of states, float32 (N, kept), nan where it is not known.
        params: permittivities of the two materials and the share of the first.
        plan: what made the file; ``plan.spectrum.nu`` are the frequencies.
    """

    images: Tensor
    spectra: Tensor
    params: Params
    plan: Plan

    @property
    def spaces(self) -> Mapping[str, Space]:
        return {"image": self.params.space}

    @property
    def labels(self) -> Tensor:
        return torch.full((len(self.images),), -1)

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    @property
    def groups(self) -> Tensor:
        return torch.arange(len(self.images))

    @property
    def labelled(self) -> Tensor:
        """The cells whose density of states is known, int64 (M,)."""
        return self.spectra[:, 0].isfinite().nonzero()[:, 0]

    def batch(self, index: Tensor, epoch: int = 0) -> Batch:
        unknown = torch.full((len(index),), -1)
        return Batch({"image": self.images[index]}, {"image": self.params[index]}, unknown, index)
