"""Reading a torch ``Dataset``: all at once into memory, or each sample when it is used."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equissl.data.base import Dataset, PartnerSampler
from equissl.data.batch import Batch
from equissl.data.items.sample import Item, Known, known_of, read_item, refused
from equissl.data.tensors import as_images
from equissl.errors import UserError
from equissl.params import Params, Space
from equissl.progress import Progress

NUM_TRIED = 4  # samples that are read twice, to see that they stay the same


class ItemReader:
    """Reads images of a dataset as uint8, one sample after the other: datasets need not stand threads.

    Args:
        square: makes an image of Pillow or a file, and its number, a square (3, size, size) uint8.
    """

    def __init__(self, source: Any, square: Callable[[Any, int], Tensor]):
        self.source, self.square = source, square
        self._lock = threading.Lock()
        self._shape: tuple[int, ...] | None = None

    def read(self, number: int) -> tuple[Tensor, Item]:
        """The image of a sample, (C, H, W) uint8, and the sample."""
        with self._lock:
            item = read_item(self.source, number)
            image = item.image
            if isinstance(image, Tensor | np.ndarray):
                if image.ndim != 3:
                    raise refused(number, f"its image has the shape {tuple(image.shape)}")
                pixels = as_images(image[None])[0]
            else:
                pixels = self.square(image, number)
        self._shape = self._shape or tuple(pixels.shape)
        if tuple(pixels.shape) != self._shape:
            raise UserError(
                f"images: number {number} has the shape {tuple(pixels.shape)}, the first {self._shape}; "
                "resize tensors in the dataset's transform, or let it give images of Pillow, which become "
                "squares"
            )
        return pixels, item

    def check_repeatable(self, numbers: Sequence[int]) -> None:
        """
        Raises:
            UserError: a sample differs when it is read again.
        """
        for number in numbers[:NUM_TRIED]:
            if not torch.equal(self.read(number)[0], self.read(number)[0]):
                raise UserError(
                    f"images: number {number} of {type(self.source).__name__} differs when it is read again: "
                    "its transform draws at random. Pass the dataset without it; equissl draws the views"
                )

    def read_all(self, numbers: Sequence[int], keep: bool, progress: Progress) -> tuple[Tensor | None, Known]:
        """All images, (N, C, H, W) uint8 or None unless ``keep``, and what is known of them."""
        images: Tensor | None = None
        items: list[Item] = []
        for row, number in enumerate(numbers):
            pixels, item = self.read(number)
            items.append(item._replace(image=None))
            if keep:
                images = (
                    torch.empty(len(numbers), *pixels.shape, dtype=torch.uint8) if images is None else images
                )
                images[row] = pixels
            progress("reading images", row + 1, len(numbers))
        return images, known_of(self.source, items, numbers)


@dataclass(frozen=True)
class LazyItems(Dataset):
    """Samples that are read whenever they are used.

    Args:
        reader: of the dataset they come from.
        numbers: (N,) int64, which of its samples.
        params: the factors of each.
        targets, class_names, group_ids: as of ``InMemoryDataset``.
    """

    reader: ItemReader
    numbers: Tensor
    params: Params
    targets: Tensor
    class_names: tuple[str, ...] = ()
    group_ids: Tensor | None = None
    paired: bool = False

    @property
    def spaces(self) -> Mapping[str, Space]:
        return dict.fromkeys(("image", "partner") if self.paired else ("image",), self.params.space)

    @property
    def labels(self) -> Tensor:
        return self.targets

    @property
    def classes(self) -> tuple[str, ...]:
        return self.class_names

    @property
    def groups(self) -> Tensor:
        return torch.arange(len(self.targets)) if self.group_ids is None else self.group_ids

    @functools.cached_property
    def _partners(self) -> PartnerSampler:
        return PartnerSampler(self.groups)

    def batch(self, index: Tensor, epoch: int = 0) -> Batch:
        rows = dict(self._rows(index, epoch))
        images = {name: self._images(r) for name, r in rows.items()}
        params = {name: self.params[r] for name, r in rows.items()}
        return Batch(images, params, self.targets[index], index)

    def fingerprint(self, index: Tensor) -> str:
        """Digest of labels, factors, groups and the pixels of a few samples: all would be read otherwise."""
        digest = hashlib.blake2b(digest_size=16)
        params = self.params[index]
        few = self._images(index[:: max(1, len(index) // 16)])
        for values in (
            self.numbers[index],
            self.targets[index],
            self.groups[index],
            *params.values.values(),
            few,
        ):
            digest.update(values.contiguous().numpy().data)
        return digest.hexdigest()

    def _rows(self, index: Tensor, epoch: int) -> Iterator[tuple[str, Tensor]]:
        yield "image", index
        if self.paired:
            yield "partner", self._partners.sample(index, epoch)

    def _images(self, rows: Tensor) -> Tensor:
        numbers = self.numbers[rows].tolist()
        if not numbers:
            return self.reader.read(int(self.numbers[0]))[0][None][:0]
        return torch.stack([self.reader.read(number)[0] for number in numbers])
