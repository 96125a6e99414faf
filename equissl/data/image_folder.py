"""Photographs in a folder, with or without labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image

from equissl.data.base import Data, Dataset, Split
from equissl.data.files.decode import Fit
from equissl.data.files.scan import Listing, scan
from equissl.data.files.split import position, split_rows
from equissl.data.files.streamed import Reader
from equissl.errors import UserError, nearest
from equissl.progress import Progress, no_progress


@dataclass(frozen=True)
class ImageFolder(Data):
    """A folder of images, in subfolders or not; what cannot be read is left out and listed.

    Images that fit into ``memory_gb`` are decoded once, before training. Otherwise their headers are
    checked first and they are decoded whenever they are used.

    Args:
        path: the folder. ``train`` and ``test`` (or ``val``) below it are the splits, if both are there.
        size: side in pixels of the stored square.
        labels: "none", "folders" or the path of a ``.csv`` file with columns ``file`` and ``label``.
        fit: how an image becomes a square: "crop" its centre, "squash" it, or "pad" it with black.
        bad_limit: share of unreadable files, in [0, 1], above which nothing is trained.
        test_share: share of the images that form the test split if no folder says so, in [0, 1).
        memory_gb: most that decoded images may take, in 10^9 bytes.
        workers: threads that decode; 0 for one per core.
        limit: use this many images of a split, always the same ones; ``None`` for all.
    """

    path: str
    size: int = 224
    labels: str = "none"
    fit: Fit = "crop"
    bad_limit: float = 0.05
    test_share: float = 0.1
    memory_gb: float = 2.0
    workers: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.fit not in get_args(Fit):
            problems.append(f"data.fit={self.fit!r} is not known; {nearest(self.fit, get_args(Fit))}")
        if not 0 <= self.bad_limit <= 1:
            problems.append(f"data.bad_limit must be a share from 0 to 1, got {self.bad_limit}")
        if not 0 <= self.test_share < 1:
            problems.append(f"data.test_share must be at least 0 and below 1, got {self.test_share}")
        for name in ("size", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                problems.append(f"data.{name} must be at least 1, got {value}")
        if problems:
            raise UserError(problems)

    def open(self, split: Split, progress: Progress = no_progress) -> Dataset:
        listing = scan(self.path, self.labels)
        rows = split_rows(listing.root, listing.files, split, self.test_share)
        return self.read(listing.rows(rows), progress)

    def read(self, listing: Listing, progress: Progress = no_progress) -> Dataset:
        """The images of ``listing``, of which ``limit`` are chosen.

        Raises:
            UserError: more than ``bad_limit`` of them cannot be read.
        """
        if self.limit is not None:
            rank = sorted(range(len(listing)), key=lambda i: position(listing.files[i], "limit"))
            listing = listing.rows(sorted(rank[: self.limit]))
        reader = Reader(self.size, self.fit, self.bad_limit, self.workers)
        fits = len(listing) * 3 * self.size**2 <= self.memory_gb * 1e9
        return reader.resident(listing, progress) if fits else reader.streamed(listing, progress)

    @classmethod
    def example(cls, folder: Path) -> ImageFolder:
        write_images(folder, {"left": 12, "right": 12})
        return cls(str(folder), size=8, labels="folders", test_share=0.25, workers=1)


def write_images(folder: Path, counts: Mapping[str, int], side: int = 12, suffix: str = ".png") -> None:
    """Files of noise for examples and tests: so many in each subfolder, ``0.png``, ``1.png``, ..."""
    generator = np.random.default_rng(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            noise = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / name / f"{k}{suffix}")
