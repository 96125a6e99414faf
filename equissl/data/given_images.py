"""Images as a user holds them: a tensor, an array, Pillow images, paths, a folder or a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from equissl.data.base import Data, Dataset, InMemoryDataset
from equissl.data.files.depth import IntensityRange, decide, extremes, kind_of
from equissl.data.files.pixels import Fit, Upright, fit
from equissl.data.files.reader import ImageReader
from equissl.data.files.scan import Listing
from equissl.data.folder import open_data
from equissl.data.tensors import as_images, check_values
from equissl.errors import UserError
from equissl.params import Params, Space
from equissl.progress import Progress, no_progress

Images = (
    Tensor
    | NDArray[Any]
    | Dataset
    | Data
    | Path
    | str
    | Sequence[Image.Image]
    | Sequence[Path | str]
    | Sequence[Tensor]
)


def open_images(
    images: Images,
    size: int,
    how: Fit = "crop",
    intensity: IntensityRange = IntensityRange(),
    progress: Progress = no_progress,
    limit: int | None = None,
) -> Dataset:
    """A dataset of images.

    Args:
        images: (N, C, H, W) uint8 or floats in [0, 1], as a tensor, an array or a list of (C, H, W); images
            of Pillow; paths of files; a folder, of which every image is read; a dataset; or its
            configuration, of which the test split is opened.
        size: side in pixels of the squares that images of Pillow and files become; tensors stay as they are.
        how: these become squares.
        intensity: black and white of images with more than 8 bits; absent, that of all images of a list
            or files of a folder is decided, or that of each file of a list.

        limit: maximum number of images of a folder or a table, always the same ones.

    Raises:
        UserError: another type, shape or range; says of which image.
    """
    if isinstance(images, Path | str):
        return open_data(images, size, fit=how, intensity=intensity, limit=limit).open_all(progress)
    if isinstance(images, Data):
        return _checked(images.open("test", progress))
    if isinstance(images, Dataset):
        return _checked(images)
    if isinstance(images, Tensor | np.ndarray):
        return _in_memory(as_images(images))
    if not isinstance(images, Sequence) or not images:
        raise UserError(f"images: {_EXPECTED}, got {images!r:.100}")
    kinds = {_kind(item): k for k, item in reversed(list(enumerate(images)))}
    if len(kinds) > 1 or "" in kinds:
        odd = kinds.get("", max(kinds.values()))
        raise UserError(f"images: {_EXPECTED}, but number {odd} is of type {type(images[odd]).__name__}")
    kind = next(iter(kinds))
    items: Sequence[Any] = images
    known = intensity if intensity != IntensityRange() else None
    if kind == "path":
        files = tuple(str(p) for p in items)
        reader = ImageReader(size, how, max_bad_fraction=1.0, intensity=known)
        return reader.load(Listing(Path(), files, (-1,) * len(files)), progress)
    if kind == "pillow":
        known = known or decide([extremes(p) for p in items if kind_of(p.mode)])
        return _in_memory(torch.stack([_square(p, k, size, how, known) for k, p in enumerate(items)]))
    arrays = [torch.as_tensor(a) for a in items]
    shapes = {tuple(a.shape): k for k, a in reversed(list(enumerate(arrays)))}
    if len(shapes) > 1:
        said = ", ".join(f"{s} (number {k})" for s, k in sorted(shapes.items(), key=lambda p: p[1])[:3])
        raise UserError(f"images: arrays of a list must have one shape, got {said}")
    return _in_memory(as_images(torch.stack(arrays)))


def is_resized(images: object) -> bool:
    """Whether images become squares of a size that is asked for: those of Pillow, files and folders."""
    if isinstance(images, Path | str):
        return True
    return isinstance(images, Sequence) and bool(images) and _kind(images[0]) in ("pillow", "path")


def image_shape(dataset: Dataset) -> tuple[int, int, int]:
    """(C, H, W) of a dataset's images."""
    images = next(iter(dataset.batch(torch.tensor([0])).images.values()))
    channels, height, width = images.shape[1:]
    return channels, height, width


_EXPECTED = (
    "expected a tensor or an array (N, C, H, W), a list of these (C, H, W), of images of Pillow or of "
    "paths, a folder, or a dataset"
)


def _kind(item: object) -> str:
    if isinstance(item, Tensor | np.ndarray):
        return "array"
    if isinstance(item, Image.Image):
        return "pillow"
    return "path" if isinstance(item, Path | str) else ""


def _square(image: Image.Image, number: int, size: int, how: Fit, intensity: IntensityRange) -> Tensor:
    try:
        upright = Upright(ImageOps.exif_transpose(image), None, intensity)
        pixels = np.array(fit(upright, size, how))
    except Exception as error:  # Pillow opens files when they are first used, and raises almost any
        raise UserError(f"images: number {number} cannot be read: {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _in_memory(images: Tensor) -> InMemoryDataset:
    none = torch.full((len(images),), -1)
    return InMemoryDataset(images, Params.of(Space(), {}, count=len(images)), none)


def _checked(dataset: Dataset) -> Dataset:
    """The dataset, whose first images are in [0, 1]."""
    if len(dataset):
        for name, images in dataset.batch(torch.arange(min(64, len(dataset)))).images.items():
            check_values(images, f"images {name!r}")
    return dataset
