"""Images as a user holds them: a tensor, an array, Pillow images, paths, a folder or a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from equissl.data.items.reader import ItemReader, LazyItems
from equissl.data.items.sample import chosen, has_items, read_item
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
    | Sequence[Any]  # of images, of paths, or of samples (image, label, factors)
    | torch.utils.data.Dataset[Any]
)


@dataclass(frozen=True)
class Opened:
    """Images that were passed, with what is known of them.

    Args:
        dataset: without factors.
        shape: (C, H, W) of the images.
        columns: factor -> its values, as the samples of a torch ``Dataset`` hold them.
    """

    dataset: InMemoryDataset | LazyItems
    shape: tuple[int, int, int]
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)


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
            of Pillow; paths of files; a folder, of which every image is read; a torch ``Dataset`` of images,
            (image, label), (image, label, factors) or mappings; a dataset of equissl, or its configuration,
            of which the test split is opened.
        size: side in pixels of the squares that images of Pillow and files become; tensors stay as they are.
        how: these become squares.
        intensity: black and white of images with more than 8 bits; absent, that of all images of a list
            or files of a folder is decided, or that of each file of a list.
        limit: maximum number of images of a folder, a table or a torch ``Dataset``, always the same ones.

    Raises:
        UserError: another type, shape or range; says of which image.
    """
    if isinstance(images, Path | str):
        return open_data(images, size, fit=how, intensity=intensity, limit=limit).open_all(progress)
    if isinstance(images, Data):
        return _checked(images.open("test", progress))
    if isinstance(images, Dataset):
        return _checked(images)
    if has_items(images):
        from equissl.data.given_data import GivenImages  # which needs the function below

        known = {"fit": how, "integer_range": intensity.integers, "float_range": intensity.floats}
        side = size if is_resized(images) else _side(images)
        return GivenImages.of(images, side, limit=limit, **known).open_all(progress)
    return open_given(images, size, how, intensity, progress).dataset


def open_given(
    images: Any,
    size: int,
    how: Fit = "crop",
    intensity: IntensityRange = IntensityRange(),
    progress: Progress = no_progress,
    limit: int | None = None,
    memory_gb: float = 2.0,
) -> Opened:
    """Images that are passed as such, and what the samples of a torch ``Dataset`` hold beside them.

    Args:
        memory_gb: samples of a torch ``Dataset`` that exceed it are read whenever they are used.

    Raises:
        UserError: as of ``open_images``.
    """
    if has_items(images):
        return _open_items(images, size, how, intensity, progress, limit, memory_gb)
    dataset = _open_listed(images, size, how, intensity, progress)
    if not len(dataset):
        raise UserError("images: there are none")
    if limit is not None and limit < len(dataset):
        rows = torch.tensor(chosen(len(dataset), limit))
        files = tuple(dataset.files[k] for k in rows.tolist()) if dataset.files else ()
        pixels, none = dataset.images[rows], dataset.targets[rows]
        dataset = replace(dataset, images=pixels, params=dataset.params[rows], targets=none, file_names=files)
    return Opened(dataset, image_shape(dataset))


def _open_items(
    source: Any,
    size: int,
    how: Fit,
    intensity: IntensityRange,
    progress: Progress,
    limit: int | None,
    memory_gb: float,
) -> Opened:
    """The samples of a torch ``Dataset``."""
    numbers = chosen(len(source), limit)
    if not numbers:
        raise UserError("images: there are none")

    def square(image: Any, number: int) -> Tensor:
        return _square(image, number, size, how, intensity)

    reader = ItemReader(source, square)
    reader.check_repeatable(numbers)
    channels, height, width = reader.read(numbers[0])[0].shape
    fits = len(numbers) * channels * height * width <= memory_gb * 1e9
    images, known = reader.read_all(numbers, fits, progress)
    params, rows = Params.of(Space(), {}, count=len(numbers)), torch.tensor(numbers)
    dataset: InMemoryDataset | LazyItems
    if images is None:
        dataset = LazyItems(reader, rows, params, known.targets, known.classes)
    else:
        dataset = InMemoryDataset(images, params, known.targets, known.classes)
    return Opened(dataset, (channels, height, width), known.columns)


def _open_listed(
    images: Any, size: int, how: Fit, intensity: IntensityRange, progress: Progress
) -> InMemoryDataset:
    """A tensor, an array, or a list of images of one kind."""
    if isinstance(images, Tensor | np.ndarray):
        return _in_memory(as_images(images))
    if not isinstance(images, Sequence) or isinstance(images, str | bytes):
        raise UserError(f"images: {_EXPECTED}, got {_named(images)}")
    if not images:
        raise UserError(f"images: {_EXPECTED}, got an empty list")
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
    if has_items(images):
        return len(images) > 0 and _kind(read_item(images, 0).image) in ("pillow", "path")  # type: ignore[arg-type]
    return isinstance(images, Sequence) and bool(images) and _kind(images[0]) in ("pillow", "path")


def image_shape(dataset: Dataset) -> tuple[int, int, int]:
    """(C, H, W) of a dataset's images."""
    images = next(iter(dataset.batch(torch.tensor([0])).images.values()))
    channels, height, width = images.shape[1:]
    return channels, height, width


_EXPECTED = (
    "expected a tensor or an array (N, C, H, W), a list of these (C, H, W), of images of Pillow or of "
    "paths, a folder, or a torch Dataset"
)


def _named(images: object) -> str:
    """An object by its type."""
    if isinstance(images, type):
        return f"the class {images.__name__}; make one: call it"
    return repr(images) if images is None else f"an object of type {type(images).__name__}"


def _side(images: Any) -> int:
    """The side of the images of a torch ``Dataset`` that stay as they are."""
    return int(read_item(images, 0).image.shape[-1]) if len(images) else 1


def _kind(item: object) -> str:
    if isinstance(item, Tensor | np.ndarray):
        return "array"
    if isinstance(item, Image.Image):
        return "pillow"
    return "path" if isinstance(item, Path | str) else ""


def _square(
    image: Image.Image | Path | str, number: int, size: int, how: Fit, intensity: IntensityRange
) -> Tensor:
    try:
        opened = image if isinstance(image, Image.Image) else Image.open(image)
        upright = Upright(ImageOps.exif_transpose(opened), None, intensity)
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
