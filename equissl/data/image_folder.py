"""Image files in a folder, with or without labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from equissl.config.validation import check_bounds
from equissl.data.base import Data, Dataset, Split, check_split
from equissl.data.files.decode import MAX_DECODING_GB
from equissl.data.files.depth import IntensityRange
from equissl.data.files.folder_intensity import folder_intensity
from equissl.data.files.pixels import Fit
from equissl.data.files.reader import ImageReader
from equissl.data.files.scan import Listing, scan, scan_all
from equissl.data.files.split import hash_fraction, split_indices
from equissl.progress import Progress, no_progress


@dataclass(frozen=True)
class ImageFolder(Data):
    """A folder of images, at any depth; files that cannot be read are skipped and listed.

    Images that fit into ``memory_gb`` are decoded once, before training. Otherwise their headers are
    checked first and each image is decoded whenever it is used.

    >>> import tempfile, torch
    >>> folder = tempfile.TemporaryDirectory()
    >>> write_images(Path(folder.name), {"cats": 6, "dogs": 6})
    >>> dataset = ImageFolder(folder.name, size=8, labels="folders").open("train")
    >>> dataset.classes, dataset.batch(torch.tensor([0, 1])).images["image"].shape
    (('cats', 'dogs'), torch.Size([2, 3, 8, 8]))
    >>> folder.cleanup()

    Args:
        path: the folder. ``train`` and ``test`` (or ``val``) below it are the splits, if both exist.
        size: side in pixels of the stored square.
        labels: "none", "folders" or the path of a ``.csv`` file with columns ``file`` and ``label``.
        fit: how an image becomes a square: "crop" its centre, "squash" it, or "pad" it with black.
        max_bad_fraction: fraction of unreadable files, in [0, 1], above which opening is refused.
        test_fraction: fraction of the images in the test split, in [0, 1), without split folders.
        memory_gb: maximum size of the decoded images, in 10^9 bytes.
        decoding_gb: maximum memory of the images that are being decoded, over all threads, in 10^9 bytes; an
            image that needs more is bad.
        num_workers: decoding threads; 0 for one per core.
        limit: maximum number of images of a split, always the same ones; ``None`` for all.
        integer_range: black and white of images of whole numbers with more than 8 bits, such as (0, 4095);
            ``None`` decides it once for the folder, see ``equissl.data.files.depth.decide``.
        float_range: likewise of images of floats, such as (0, 1).
    """

    whole: ClassVar[str] = "all"
    settled_by_files: ClassVar[tuple[str, ...]] = ("integer_range", "float_range")

    path: str
    size: int = 224
    labels: str = "none"
    fit: Fit = "crop"
    max_bad_fraction: float = 0.05
    test_fraction: float = 0.1
    memory_gb: float = 2.0
    decoding_gb: float = MAX_DECODING_GB
    num_workers: int = 0
    limit: int | None = None
    integer_range: tuple[float, float] | None = None
    float_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, "test_fraction", low=0, below=1)
        check_bounds(self, "decoding_gb", above=0)
        for name in ("integer_range", "float_range"):
            value = getattr(self, name)
            if value is not None and not value[0] < value[1]:
                raise ValueError(f"{name} must be black and white, two rising numbers, got {value}")

    def resolve(self, progress: Progress = no_progress) -> ImageFolder:
        return self.with_ranges(scan(self.path, self.labels), progress)

    def open(self, split: Split, progress: Progress = no_progress) -> Dataset:
        check_split(split)
        listing = scan(self.path, self.labels)
        rows = split_indices(listing.root, listing.files, split, self.test_fraction)
        return self.read(listing.select(rows), progress, listing)

    def open_all(self, progress: Progress = no_progress) -> Dataset:
        """All images without labels: those of both splits, and what lies beside split folders."""
        return self.read(scan_all(self.path), progress)

    def read(
        self, listing: Listing, progress: Progress = no_progress, whole: Listing | None = None
    ) -> Dataset:
        """The dataset of the files in ``listing``, at most ``limit`` of them.

        Args:
            whole: the files that decide the intensity ranges; those in ``listing`` if absent.

        Raises:
            UserError: more than ``max_bad_fraction`` of the files cannot be read.
        """
        reader = self.with_ranges(whole or listing, progress)._reader
        if self.limit is not None:
            order = sorted(range(len(listing)), key=lambda i: hash_fraction(listing.files[i], "limit"))
            listing = listing.select(sorted(order[: self.limit]))
        fits = len(listing) * 3 * self.size**2 <= self.memory_gb * 1e9
        return reader.load(listing, progress) if fits else reader.stream(listing, progress)

    @property
    def intensity(self) -> IntensityRange:
        return IntensityRange(self.integer_range, self.float_range)

    @property
    def _reader(self) -> ImageReader:
        return ImageReader(
            self.size,
            self.fit,
            self.max_bad_fraction,
            self.num_workers,
            self.intensity,
            self.decoding_gb,
        )

    def with_ranges(self, listing: Listing, progress: Progress = no_progress) -> ImageFolder:
        """With the intensity ranges that the files of the whole folder decide, where none is set."""
        if self.integer_range and self.float_range:
            return self
        reader = self._reader
        found = folder_intensity(listing, reader.decoding, reader.threads, progress)
        return replace(
            self,
            integer_range=self.integer_range or found.integers,
            float_range=self.float_range or found.floats,
        )

    @classmethod
    def example(cls, folder: Path) -> ImageFolder:
        write_images(folder, {"left": 12, "right": 12})
        return cls(str(folder), size=8, labels="folders", test_fraction=0.25, num_workers=1)


def write_images(folder: Path, counts: Mapping[str, int], side: int = 12, suffix: str = ".png") -> None:
    """Write images of noise, ``0.png``, ``1.png``, ..., for tests: subfolder -> number of images."""
    generator = np.random.default_rng(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            noise = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / name / f"{k}{suffix}")
