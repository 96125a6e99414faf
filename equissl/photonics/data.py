"""Dataset of photonic crystals: unit cells as single-channel images, labelled by densities of states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from equissl.config.validation import TrustNeed, check_bounds
from equissl.data.base import Data, Dataset, Split, check_split
from equissl.data.batch import Batch
from equissl.errors import UserError
from equissl.params import Params, Real, Space
from equissl.photonics.cells import MAX_PERMITTIVITY
from equissl.photonics.dos import Spectrum
from equissl.photonics.generate import CrystalPlan, generate, load
from equissl.progress import Progress, no_progress

_UNIT = "relative permittivity"
SPACE = Space(
    (
        Real("inside", neutral_value=(1 + MAX_PERMITTIVITY) / 2, scale=5.5, unit=_UNIT),
        Real("outside", neutral_value=(1 + MAX_PERMITTIVITY) / 2, scale=5.5, unit=_UNIT),
        Real("fill", neutral_value=0.5, scale=0.3, unit="fraction"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Crystals(Data):
    """Unit cells from a file of ``equissl render photonics``, as (permittivity - 1) / 19 in [0, 1].

    The last cells of the file are labelled; the last of those are the test split.

    Args:
        path: the file.
        plan: the file is generated from it if it does not exist; an existing file must be of this plan.
            None: the file must exist (generate it first where several processes train).
        size: side of the cells in pixels, as in the file.
        test_size: number of cells in the test split.

    Raises:
        ValueError: ``test_size`` is below 1.
    """

    paper: ClassVar[str] = "arXiv:2111.00899"
    path: str = "crystals.safetensors"
    plan: CrystalPlan | None = None
    size: int = 32
    test_size: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, "test_size", low=1)

    def needs_trust(self) -> list[TrustNeed]:
        if self.plan is None or Path(self.path).exists():
            return []
        return [TrustNeed("path", "does not exist, so it would be generated and written there")]

    @property
    def spaces(self) -> Mapping[str, Space]:
        return {"image": SPACE}

    def open(self, split: Split, progress: Progress = no_progress) -> CrystalDataset:
        check_split(split)
        path = Path(self.path)
        if self.plan is not None and not path.exists():
            generate(self.plan, path, progress=progress)
        stored = load(path)
        plan = stored.plan
        if self.plan not in (None, plan):
            raise UserError(f"data.path={self.path} does not match data.plan. Choose another file")
        if plan.size != self.size:
            raise UserError(f"data.size={self.size}, but the cells in {self.path} have {plan.size} pixels")
        if self.test_size >= plan.count:
            raise UserError(f"data.test_size={self.test_size}, but {self.path} has {plan.count} cells")
        border = plan.count - self.test_size
        rows = slice(0, border) if split == "train" else slice(border, plan.count)
        spectra = torch.full((plan.count, plan.spectrum.kept), torch.nan)
        spectra[plan.count - plan.num_labelled :] = stored.dos
        values = {n: getattr(stored, n)[rows, None].clone() for n in SPACE.names}
        images = ((stored.epsilon[rows, None] - 1) / (MAX_PERMITTIVITY - 1)).clamp(0, 1)
        return CrystalDataset(images, spectra[rows], Params.of(SPACE, values), plan)

    @classmethod
    def example(cls, folder: Path) -> Crystals:
        path = folder / "crystals.safetensors"
        spectrum = Spectrum(order=1, grid=3, bands=4, kept=20)
        generate(CrystalPlan(kind="blob", count=12, labelled=8, size=8, spectrum=spectrum), path)
        return cls(path=str(path), size=8, test_size=4)


@dataclass(frozen=True)
class CrystalDataset(Dataset):
    """A split of crystals in memory.

    Args:
        images: float32 (N, 1, size, size) in [0, 1].
        spectra: normalised density of states, float32 (N, kept), nan for unlabelled cells.
        params: permittivities of the two materials and the area fraction of the first.
        plan: of the file; ``plan.spectrum.nu`` are the frequencies.
    """

    images: Tensor
    spectra: Tensor
    params: Params
    plan: CrystalPlan

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
        """Indices of the cells with a density of states, int64 (M,)."""
        return self.spectra[:, 0].isfinite().nonzero()[:, 0]

    def batch(self, index: Tensor, epoch: int = 0) -> Batch:
        labels = torch.full((len(index),), -1)
        return Batch({"image": self.images[index]}, {"image": self.params[index]}, labels, index)
