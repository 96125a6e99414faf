"""The contract of a dataset: what it knows before it is opened, and batches of samples once it is."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from equissl.data.batch import Batch
from equissl.params import Params, Space
from equissl.progress import Progress, no_progress
from equissl.random import Stream

Split = Literal["train", "test"]
_SHARE = 0.2  # of the free memory of a GPU that resident images may take


@dataclass(frozen=True)
class BadImage:
    """A file that could not be used and why, one row of ``bad_images.csv``."""

    path: str
    reason: str


class Dataset(ABC):
    """An opened split of a dataset: samples by number."""

    @property
    @abstractmethod
    def spaces(self) -> Mapping[str, Space]:
        """Image name -> the factors known for it; the keys are the images a batch holds."""

    @property
    @abstractmethod
    def labels(self) -> Tensor:
        """(N,) int64, -1 where unknown."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names of the labels, empty if there are none."""

    @property
    @abstractmethod
    def groups(self) -> Tensor:
        """(N,) int64: samples of one group (one object, one image) must not be split by a probe."""

    @property
    def bad_images(self) -> tuple[BadImage, ...]:
        """Files that were skipped."""
        return ()

    @property
    def files(self) -> tuple[str, ...]:
        """Where each sample came from, relative to its folder; empty for samples without files."""
        return ()

    @abstractmethod
    def batch(self, index: Tensor, epoch: int = 0) -> Batch:
        """The samples ``index`` (B,), in that order; ``epoch`` lets pairs be drawn anew."""

    def on(self, device: torch.device) -> Dataset:
        """The same samples, with their images kept on ``device`` if they are in memory and fit there."""
        return self

    def rendered(self, index: Tensor, params: Params) -> Tensor | None:
        """What the samples ``index`` (B,) show, under other values of their factors: (B, C, H, W) uint8.

        None where images cannot be made anew. Factors that ``params`` (B) lacks stay as recorded.
        """
        return None

    def fingerprint(self, index: Tensor) -> str:
        """A digest of the samples ``index`` that changes whenever an image, label, factor or group does.

        Looks at every pixel; a dataset that decodes files overrides it with what it knows of them.
        """
        digest = hashlib.blake2b(digest_size=16)
        for rows in torch.split(index, 1024):
            batch = self.batch(rows)
            params = [v for p in batch.params.values() for v in (*p.values.values(), *p.applied.values())]
            for values in (*batch.images.values(), *params, self.labels[rows], self.groups[rows]):
                digest.update(values.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.labels)


class Data(ABC):
    """Where images come from, as plain data; subclasses are frozen dataclasses.

    Every subclass has a field ``size``: the side in pixels that its images are stored at.
    """

    title: ClassVar[str] = ""  # what people call it; the class's name if it is not given
    paper: ClassVar[str] = ""  # "arXiv:..."
    bibtex: ClassVar[str] = ""  # its entry, unless another class with this paper has it
    size: int

    @property
    def known(self) -> Mapping[str, Space]:
        """Image name -> the factors that will be known for it, before anything is opened."""
        return {"image": Space()}

    @abstractmethod
    def open(self, split: Split, progress: Progress = no_progress) -> Dataset:
        """Open a split.

        Raises:
            UserError: the files are missing or unusable; the message says what to do.
        """

    @classmethod
    @abstractmethod
    def example(cls, folder: Path) -> Data:
        """A tiny instance for the laws in ``equissl.testing``, with its files made below ``folder``."""


class Partners:
    """Finds other images of the same group; ``groups`` (N,) int64."""

    def __init__(self, groups: Tensor):
        # Sorted by group: the order, each image's place in it, where its group starts, how long it is.
        self._order = groups.argsort(dim=0, stable=True)
        _, which, counts = torch.unique(groups, return_inverse=True, return_counts=True)
        self._starts, self._counts = (counts.cumsum(0) - counts)[which], counts[which]
        self._place = torch.empty_like(self._order)
        self._place[self._order] = torch.arange(len(self._order))

    def of(self, index: Tensor, epoch: int) -> Tensor:
        """Another image of the same group for each of ``index``, drawn anew each epoch; itself if alone."""
        step = Stream.of(index, "partner", epoch).uniform("step")[:, 0]
        start, count = self._starts[index], self._counts[index]
        other = (self._place[index] - start + 1 + (step * (count - 1)).long()) % count
        return self._order[start + other]


@dataclass(frozen=True)
class Resident(Dataset):
    """Images that stay in memory, as uint8.

    Args:
        images: (N, C, H, W) uint8.
        params: factors known for each image.
        target: (N,) int64 labels.
        group: (N,) int64; every image its own if absent.
        names: class names.
        paired: also offer "partner", another image of the same group drawn anew each epoch.
        skipped: files that could not be used.
        sources: the file of each image.
        render: groups (B,) and all their factors -> images (B, C, H, W), where they can be made anew.
    """

    images: Tensor
    params: Params
    target: Tensor
    names: tuple[str, ...] = ()
    group: Tensor | None = None
    paired: bool = False
    skipped: tuple[BadImage, ...] = ()
    sources: tuple[str, ...] = ()
    render: Callable[[Tensor, Params], Tensor] | None = field(default=None, repr=False, compare=False)
    _partners: Partners = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_partners", Partners(self.groups))

    @property
    def spaces(self) -> Mapping[str, Space]:
        names = ("image", "partner") if self.paired else ("image",)
        return dict.fromkeys(names, self.params.space)

    @property
    def labels(self) -> Tensor:
        return self.target

    @property
    def classes(self) -> tuple[str, ...]:
        return self.names

    @property
    def groups(self) -> Tensor:
        return torch.arange(len(self.target)) if self.group is None else self.group

    @property
    def bad_images(self) -> tuple[BadImage, ...]:
        return self.skipped

    @property
    def files(self) -> tuple[str, ...]:
        return self.sources

    def batch(self, index: Tensor, epoch: int = 0) -> Batch:
        chosen = {"image": index}
        if self.paired:
            chosen["partner"] = self.partners(index, epoch)
        there = {name: self._there(rows) for name, rows in chosen.items()}
        images = {name: self.images[rows] for name, rows in there.items()}
        params = {name: self.params[rows] for name, rows in there.items()}
        return Batch(images, params, self.target[index], index)

    def rendered(self, index: Tensor, params: Params) -> Tensor | None:
        if self.render is None:
            return None
        recorded = self.params[index]
        values = {
            **recorded.values,
            **{n: params.values[n] for n in params.space.names if n in recorded.values},
        }
        return self.render(self.groups[index], Params.of(self.params.space, values))

    def on(self, device: torch.device) -> Resident:
        """With the images on ``device``; as it is if they would take too much of its memory."""
        if device == self.images.device:
            return self
        if device.type == "cuda" and self.images.nbytes > _SHARE * torch.cuda.mem_get_info(device)[0]:
            return self
        return replace(self, images=self.images.to(device), params=self.params.to(device))

    def _there(self, rows: Tensor) -> Tensor:
        """Row numbers where the images are; pinned, so that nothing waits for the device."""
        device = self.images.device
        pinned = rows.pin_memory() if device.type == "cuda" else rows
        return pinned.to(device, non_blocking=True)

    def partners(self, index: Tensor, epoch: int) -> Tensor:
        """Another image of the same group for each of ``index``; itself if it is alone."""
        return self._partners.of(index, epoch)
