"""Images that Python code passes, as the data of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from equissl.data.base import Data, Dataset, InMemoryDataset, Split, check_split
from equissl.data.files.depth import IntensityRange
from equissl.data.files.pixels import Fit
from equissl.data.files.split import split_indices
from equissl.data.given_images import Images, Opened, open_given
from equissl.data.items.reader import LazyItems
from equissl.data.tables.cells import Cells
from equissl.data.tables.factors import measured_factor, values
from equissl.data.tables.kinds import DEGREES, choose, split_factors
from equissl.data.tables.schema import TableSchema
from equissl.errors import UserError, nearest
from equissl.params import Params, Space
from equissl.progress import Progress, no_progress

MISSING = "data: the images were passed in Python and are in no file; pass the same again as data=..."


class PassedImages:
    """Images as they were passed, and how they were read last; never written."""

    def __init__(self, images: Any):
        self.images = images
        self._key: object = None
        self._opened: Opened | None = None

    def open(self, data: GivenImages, progress: Progress) -> Opened:
        """The images at the size of ``data``, read once."""
        key = (data.size, data.fit, data.intensity, data.limit, data.memory_gb)
        if self._opened is None or self._key != key:
            how: Any = {"how": data.fit, "intensity": data.intensity, "memory_gb": data.memory_gb}
            self._opened = open_given(self.images, data.size, limit=data.limit, progress=progress, **how)
            self._key = key
        return self._opened


@dataclass(frozen=True)
class GivenImages(Data):
    """Images that Python code passes: a torch ``Dataset``, a tensor, an array or a list (``GivenImages.of``).

    A recipe keeps how many there are and what their factors mean, not the images: a run is resumed and
    evaluated with the same images passed again.

    >>> pixels = torch.rand(40, 3, 8, 8)
    >>> samples = [(image, k % 2, {"yaw_degrees": 9.0 * k}) for k, image in enumerate(pixels)]
    >>> dataset = GivenImages.of(samples, size=8).open("train")
    >>> dataset.classes, dataset.spaces["image"].names
    (('0', '1'), ('yaw_degrees',))

    Args:
        size: side in pixels of the square that images of Pillow and files become; tensors have it.
        factors: ``NAME:KIND`` of what the samples hold beside their label, as of ``ImageTable``; absent,
            numbers are "real", bools "binary", texts that repeat "category", NAME_degrees "circular(360)".
        group: the name of what tells which images belong together: an object, a patient.
        test_fraction: of the images, in [0, 1), that are the test split.
        limit: maximum number of images, always the same ones.
        memory_gb: images of a torch ``Dataset`` that exceed it are read whenever they are used.
        schema: what the factors are, settled; read from the samples if absent.
        count: how many images there are, once they were opened.
        source: the images.
        fit, integer_range, float_range: as of ``ImageFolder``.
    """

    title: ClassVar[str] = "Images passed in Python"
    whole: ClassVar[str] = "all"
    settled_by_files: ClassVar[tuple[str, ...]] = ("schema", "count")

    size: int
    factors: tuple[str, ...] = ()
    group: str = ""
    test_fraction: float = 0.1
    limit: int | None = None
    memory_gb: float = 2.0
    fit: Fit = "crop"
    integer_range: tuple[float, float] | None = None
    float_range: tuple[float, float] | None = None
    schema: TableSchema | None = None
    count: int | None = None
    source: PassedImages | None = field(default=None, compare=False, repr=False, metadata={"stored": False})

    @classmethod
    def of(cls, images: Images, size: int, **fields: Any) -> GivenImages:
        """The data of some images.

        Args:
            images: as of ``open_images``, without folders.
            fields: of this class.
        """
        split_factors(fields.get("factors", ()))
        return cls(size, **fields, source=PassedImages(images))

    def with_images(self, images: Images) -> GivenImages:
        """The same data, whose images are passed again."""
        return replace(self, source=PassedImages(images))

    @property
    def intensity(self) -> IntensityRange:
        return IntensityRange(self.integer_range, self.float_range)

    @property
    def spaces(self) -> Mapping[str, Space]:
        schema = self._settled(no_progress)
        return dict.fromkeys(("image", "partner") if schema.group else ("image",), schema.space)

    def resolve(self, progress: Progress = no_progress) -> GivenImages:
        return replace(self, schema=self._settled(progress), count=len(self._opened(progress).dataset))

    def like(self, other: Data) -> GivenImages:
        """With the levels and scales of the factors of other such data."""
        known = other.schema if isinstance(other, GivenImages) else None
        if known is None:
            return self
        named = {m.factor.name: m for m in known.factors}
        mine = self._settled(no_progress)
        return replace(
            self, schema=replace(mine, factors=tuple(named.get(m.factor.name, m) for m in mine.factors))
        )

    def open(self, split: Split, progress: Progress = no_progress) -> Dataset:
        check_split(split)
        whole = self.open_all(progress)
        if not self.test_fraction:
            if split == "test":
                raise UserError("test_fraction=0: no images are held out; pass test images apart")
            return whole
        groups = [str(g) for g in whole.groups.tolist()]  # each image its own without ``group``
        rows = split_indices(Path(), groups, split, self.test_fraction, groups)
        return _select(whole, torch.tensor(rows, dtype=torch.int64))

    def open_all(self, progress: Progress = no_progress) -> InMemoryDataset | LazyItems:
        """All images."""
        opened, schema = self._opened(progress), self._settled(progress)
        dataset = opened.dataset
        if self.count is not None and self.count != len(dataset):
            raise UserError(
                f"data: {len(dataset):,} images were passed, but the run has {self.count:,}; pass the same"
            )
        cells = _cells(opened)
        found = {m.factor.name: values(m, cells) for m in schema.factors}
        params = Params.of(schema.space, found, count=len(dataset))
        groups = _numbered(opened.columns[schema.group]) if schema.group else dataset.group_ids
        return replace(dataset, params=params, group_ids=groups, paired=bool(schema.group))

    def _opened(self, progress: Progress) -> Opened:
        if self.source is None:
            raise UserError(MISSING)
        opened = self.source.open(self, progress)
        shape = opened.shape[1:]
        if set(shape) != {self.size}:
            raise UserError(
                f"size={self.size}: the images are of {shape[0]} x {shape[1]} px and stay as they are; "
                "resize them, or pass images of Pillow, which become squares"
            )
        return opened

    def _settled(self, progress: Progress) -> TableSchema:
        if self.schema is not None:
            return self.schema
        cells = _cells(self._opened(progress))
        if self.group and self.group not in cells.columns:
            raise UserError(
                f"group={self.group!r}: samples hold no such value; {nearest(self.group, cells.columns)}"
            )
        by_type = {n: kind for n, kind in cells.kinds.items() if n != self.group}
        said = {"its type": by_type, "factors": split_factors(self.factors)}
        choices = choose(list(cells.columns), [self.group], said)
        factors = tuple(measured_factor(choice, cells) for choice in choices)
        return TableSchema(factors=factors, group=self.group, split_by="group" if self.group else "image")

    @classmethod
    def example(cls, folder: Path) -> GivenImages:
        pixels = torch.randint(0, 256, (24, 3, 8, 8), generator=torch.Generator().manual_seed(0))
        samples = [
            (image.to(torch.uint8), k % 2, {"yaw_degrees": 15.0 * k, "object": f"object {k // 2}"})
            for k, image in enumerate(pixels)
        ]
        return cls.of(samples, size=8, group="object", test_fraction=0.25)


def given_data(images: Images, size: int, **fields: Any) -> Data:
    """The data of images as they are passed: ``Data`` as it is, all else as ``GivenImages``."""
    if isinstance(images, Data):
        return images
    if isinstance(images, Dataset):
        raise UserError(
            f"data: expected images or the configuration of a dataset, got an opened {type(images).__name__}"
        )
    return GivenImages.of(images, size, **fields)


def passed_again(data: Data, images: Images | None) -> Data:
    """The data of a run with its images, which are passed if they are in no file.

    Raises:
        UserError: they are missing, or the run has data of its own.
    """
    if not isinstance(data, GivenImages):
        if images is not None:
            raise UserError(f"data: the run reads its own {type(data).__name__}; leave data= out")
        return data
    if images is None and data.source is None:
        raise UserError(MISSING)
    return data if images is None else data.with_images(images)


def _cells(opened: Opened) -> Cells:
    """What samples hold beside image and label, with the kinds that their types say."""
    kinds = {n: _kind(v) for n, v in opened.columns.items() if not n.endswith(DEGREES)}
    numbers = range(len(opened.dataset))
    return Cells(
        Path("samples"), opened.columns, {n: k for n, k in kinds.items() if k}, numbers, "number", "data"
    )


def _kind(column: Sequence[Any]) -> str:
    if all(isinstance(v, bool) for v in column):
        return "binary"
    if all(isinstance(v, int | float) for v in column):
        return "real"
    repeated = len({str(v) for v in column}) <= len(column) / 2  # unlike captions and names of files
    return "category" if repeated and all(isinstance(v, str) for v in column) else ""


def _numbered(names: Sequence[Any]) -> Tensor:
    """Values as numbers, in the order in which they come first: (N,) int64."""
    number: dict[Any, int] = {}
    return torch.tensor([number.setdefault(name, len(number)) for name in names])


def _select(dataset: InMemoryDataset | LazyItems, rows: Tensor) -> Dataset:
    shared: Any = {
        "params": dataset.params[rows],
        "targets": dataset.targets[rows],
        "group_ids": dataset.groups[rows],
    }
    if isinstance(dataset, LazyItems):
        return replace(dataset, numbers=dataset.numbers[rows], **shared)
    files = tuple(dataset.files[k] for k in rows.tolist()) if dataset.files else ()
    return replace(dataset, images=dataset.images[rows], file_names=files, **shared)
