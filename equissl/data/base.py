"""Datasets: ``Data``, the configuration in a recipe, and ``Dataset``, an opened split that gives batches."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from equissl.config.validation import MAX_WIDTH, Checked, check_bounds
from equissl.data.batch import Batch
from equissl.data.files.depth import IntensityRange
from equissl.data.files.pixels import Fit
from equissl.distributed import to_device
from equissl.errors import UserError, nearest
from equissl.params import Params, Space
from equissl.progress import Progress, no_progress
from equissl.random import Stream

Split = Literal["train", "test"]
_BOUNDS = (  # of fields that several datasets have
    ("limit", 1, None),
    ("max_bad_fraction", 0, 1),
    ("memory_gb", 0, None),
    ("num_workers", 0, 1024),
)
MAX_MEMORY_FRACTION = 0.2  # of the free memory of a GPU, for the images of a dataset


def check_split(split: str) -> None:
    """For the start of ``Data.open``.

    Raises:
        UserError: there is no such split.
    """
    if split not in get_args(Split):
        raise UserError(f"split={split!r} does not exist; {nearest(str(split), get_args(Split))}")


@dataclass(frozen=True)
class BadImage:
    """A file that cannot be used, and the reason: a row of ``bad_images.csv``.

    Args:
        path: as Python names files: bytes that are not UTF-8 are surrogates (``os.fsencode`` gives them).
        reason: what the file is ("empty (0 bytes)", "truncated: ..."); "PATH is REASON" is a sentence.
    """

    path: str
    reason: str


class Dataset(ABC):
    """An opened split: samples by index, in batches."""

    @property
    @abstractmethod
    def spaces(self) -> Mapping[str, Space]:
        """Image name -> its labelled factors; the keys are the images of a batch."""

    @property
    @abstractmethod
    def labels(self) -> Tensor:
        """(N,) int64, -1 where unknown."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Class names, by label; empty without labels."""

    @property
    @abstractmethod
    def groups(self) -> Tensor:
        """(N,) int64: samples of one group (one object, one image) belong to the same fold of a probe."""

    @property
    def bad_images(self) -> tuple[BadImage, ...]:
        """Files that were skipped."""
        return ()

    @property
    def files(self) -> tuple[str, ...]:
        """The file of each sample, relative to the folder; empty for samples without files."""
        return ()

    @abstractmethod
    def batch(self, index: Tensor, epoch: int = 0) -> Batch:
        """The samples ``index`` (B,), in that order; partners are sampled anew in each ``epoch``."""

    def readable(self, index: Tensor) -> Tensor:
        """Those of the samples ``index`` (B,) whose images can be decoded; those not known are tried."""
        return index

    def to(self, device: torch.device) -> Dataset:
        """The same with its images on ``device``; itself if they are not in memory or do not fit."""
        return self

    def render(self, index: Tensor, params: Params) -> Tensor | None:
        """Renders of the samples ``index`` (B,) under other factor values: (B, C, H, W) uint8.

        None for a dataset without a renderer. Factors that ``params`` (B) lacks keep their recorded values.
        """
        return None

    def fingerprint(self, index: Tensor) -> str:
        """Digest of the samples ``index``: of every pixel, label, factor and group.

        A dataset that decodes files overrides it with the names, sizes and times of the files.
        """
        digest = hashlib.blake2b(digest_size=16)
        for rows in torch.split(index, 1024):
            batch = self.batch(rows)
            params = [v for p in batch.params.values() for v in (*p.values.values(), *p.applied.values())]
            for values in (*batch.images.values(), *params, self.labels[rows], self.groups[rows]):
                digest.update(values.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    @cached_property
    def digest(self) -> str:
        """Digest of all samples as they were when the dataset was opened, to tell whether data have changed.

        Of content where images are in memory; otherwise of names, sizes and times of the files. It does not
        depend on where the folder lies.
        """
        return self.fingerprint(torch.arange(len(self)))

    def __len__(self) -> int:
        return len(self.labels)


class Data(Checked, ABC):
    """Configuration of a dataset, part of a recipe; subclasses are frozen dataclasses.

    Every subclass has a field ``size``: the side in pixels that its images are stored at.
    """

    title: ClassVar[str] = ""  # what people call it; the class's name if it is not given
    paper: ClassVar[str] = ""  # "arXiv:..."
    bibtex: ClassVar[str] = ""  # its entry, unless another class with this paper has it
    whole: ClassVar[str] = "train"  # which split ``open_all`` gives; "all" if it gives every sample
    settled_by_files: ClassVar[tuple[str, ...]] = ()  # fields that ``resolve`` fills in where they are None
    size: int

    @property
    def spaces(self) -> Mapping[str, Space]:
        """Image name -> its labelled factors, as ``Dataset.spaces``, before anything is opened."""
        return {"image": Space()}

    @property
    def intensity(self) -> IntensityRange:
        """Black and white of the images with more than 8 bits, as far as they are set or decided."""
        return IntensityRange()

    @property
    def root(self) -> str:
        """The folder that ``Dataset.files`` are relative to; "" for data without files."""
        return str(getattr(self, "path", ""))

    @property
    def fit(self) -> Fit:
        """How an image becomes a square."""
        return "crop"

    def like(self, other: Data) -> Data:
        """With the levels and scales of factors of data that an encoder or a probe was fitted on."""
        return self

    def remarks(self) -> tuple[str, ...]:
        """What is odd about the data, a sentence each, to be said before they are used."""
        return ()

    def resolve(self, progress: Progress = no_progress) -> Data:
        """The same with what its files decide filled in, so that a run keeps it when files are added."""
        return self

    @abstractmethod
    def open(self, split: Split, progress: Progress = no_progress) -> Dataset:
        """The dataset of a split.

        Raises:
            UserError: no such split (``check_split``), or the files are missing or unusable; the message says
                what to do.
        """

    def open_all(self, progress: Progress = no_progress) -> Dataset:
        """Samples of every split where the data can give them together, otherwise those of "train"."""
        return self.open("train", progress)

    def __post_init__(self) -> None:
        check_bounds(self, "size", low=1, high=MAX_WIDTH)
        if getattr(self, "path", ".") == "":
            raise ValueError("path is empty; the current folder is '.'")
        for name, low, high in _BOUNDS:
            if name in vars(self):
                check_bounds(self, name, low=low, high=high)

    def opened(self) -> Data:
        """The same data once they have been opened, as a run stores them: a download is not repeated."""
        return self

    @classmethod
    @abstractmethod
    def example(cls, folder: Path) -> Data:
        """A tiny instance for the laws in ``equissl.testing``, with its files written below ``folder``."""


class PartnerSampler:
    """Samples positive partners: other images of the same group.

    >>> PartnerSampler(torch.tensor([0, 1, 0])).sample(torch.tensor([0, 2, 1]), epoch=0)
    tensor([2, 0, 1])

    Args:
        groups: (N,) int64.
    """

    def __init__(self, groups: Tensor):
        # Sorted by group: the order, each image's rank in it, where its group starts, and its size.
        self._order = groups.argsort(dim=0, stable=True)
        _, group, counts = torch.unique(groups, return_inverse=True, return_counts=True)
        self._starts, self._counts = (counts.cumsum(0) - counts)[group], counts[group]
        self._rank = torch.empty_like(self._order)
        self._rank[self._order] = torch.arange(len(self._order))

    def sample(self, index: Tensor, epoch: int) -> Tensor:
        """Another image of the same group for each of ``index``, per epoch; itself in a group of one."""
        step = Stream.of(index, "partner", epoch).uniform("step")[:, 0]
        start, count = self._starts[index], self._counts[index]
        other = (self._rank[index] - start + 1 + (step * (count - 1)).long()) % count
        return self._order[start + other]


@dataclass(frozen=True)
class InMemoryDataset(Dataset):
    """Images in memory, as uint8.

    Args:
        images: (N, C, H, W) uint8.
        params: labelled factors of each image.
        targets: (N,) int64 labels.
        group_ids: (N,) int64; every image its own group if absent.
        class_names: by label.
        paired: add "partner" to batches, another image of the same group, sampled per epoch.
        bad_files: files that could not be used.
        file_names: the file of each image.
        renderer: groups (B,) and their factors -> images (B, C, H, W), for ``render``.
    """

    images: Tensor
    params: Params
    targets: Tensor
    class_names: tuple[str, ...] = ()
    group_ids: Tensor | None = None
    paired: bool = False
    bad_files: tuple[BadImage, ...] = ()
    file_names: tuple[str, ...] = ()
    renderer: Callable[[Tensor, Params], Tensor] | None = field(default=None, repr=False, compare=False)
    _partners: PartnerSampler = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        count = len(self.targets)
        rows = {"images": len(self.images), "params": self.params.count, "group_ids": len(self.groups)}
        if wrong := {name: found for name, found in rows.items() if found != count}:
            raise ValueError(f"{count} targets, but another number of rows: {wrong}")
        object.__setattr__(self, "_partners", PartnerSampler(self.groups))

    @property
    def spaces(self) -> Mapping[str, Space]:
        names = ("image", "partner") if self.paired else ("image",)
        return dict.fromkeys(names, self.params.space)

    @property
    def labels(self) -> Tensor:
        return self.targets

    @property
    def classes(self) -> tuple[str, ...]:
        return self.class_names

    @property
    def groups(self) -> Tensor:
        return torch.arange(len(self.targets)) if self.group_ids is None else self.group_ids

    @property
    def bad_images(self) -> tuple[BadImage, ...]:
        return self.bad_files

    @property
    def files(self) -> tuple[str, ...]:
        return self.file_names

    def batch(self, index: Tensor, epoch: int = 0) -> Batch:
        indices = {"image": index}
        if self.paired:
            indices["partner"] = self.sample_partners(index, epoch)
        rows_by_name = {name: to_device(rows, self.images.device) for name, rows in indices.items()}
        images = {name: self.images[rows] for name, rows in rows_by_name.items()}
        params = {name: self.params[rows] for name, rows in rows_by_name.items()}
        return Batch(images, params, self.targets[index], index)

    def render(self, index: Tensor, params: Params) -> Tensor | None:
        if self.renderer is None:
            return None
        recorded = self.params[index]
        values = {
            **recorded.values,
            **{n: params.values[n] for n in params.space.names if n in recorded.values},
        }
        return self.renderer(self.groups[index], Params.of(self.params.space, values))

    def fingerprint(self, index: Tensor) -> str:
        digest = hashlib.blake2b(repr((self.images.dtype, self.images.shape[1:])).encode(), digest_size=16)
        for part in torch.split(index, 1024):
            rows = to_device(part, self.images.device)
            params = self.params[rows]
            factors = (*params.values.values(), *params.applied.values())
            for values in (self.images[rows], *factors, self.targets[part], self.groups[part]):
                digest.update(values.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def to(self, device: torch.device) -> InMemoryDataset:
        """With its images on ``device``; itself if they exceed ``MAX_MEMORY_FRACTION``."""
        if device == self.images.device:
            return self
        if (
            device.type == "cuda"
            and self.images.nbytes > MAX_MEMORY_FRACTION * torch.cuda.mem_get_info(device)[0]
        ):
            return self
        return replace(self, images=self.images.to(device), params=self.params.to(device))

    def sample_partners(self, index: Tensor, epoch: int) -> Tensor:
        """Another image of the same group for each of ``index``; itself in a group of one."""
        return self._partners.sample(index, epoch)
