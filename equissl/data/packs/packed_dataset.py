"""Dataset on a pack: images decoded whenever they are used, or all at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from equissl.data.base import BadImage, Dataset, InMemoryDataset, PartnerSampler
from equissl.data.batch import Batch
from equissl.data.files.reader import ImageReader, decode_all, decode_pairs
from equissl.data.loader import prefetch_map
from equissl.data.packs.packing import Pack
from equissl.params import Params, Space
from equissl.progress import Progress, no_progress


class PackedDataset(Dataset):
    """Images of a pack, decoded whenever they are used.

    One that cannot be decoded is replaced by the next that can, with its factors and label, and is added to
    ``bad_images``.

    Args:
        rows: (N,) rows of the pack.
        params, targets: factors and labels of those rows.
        reader: size, threads and maximum fraction of bad images.
        swap_channels: exchange red and blue.
    """

    def __init__(
        self,
        pack: Pack,
        rows: Tensor,
        params: Params,
        targets: Tensor,
        classes: tuple[str, ...],
        reader: ImageReader,
        paired: bool = False,
        swap_channels: bool = False,
    ):
        self._pack, self._rows, self._params, self._targets = pack, rows, params, targets
        self._classes, self._reader, self._swap = classes, reader, swap_channels
        self._groups = pack.owner[rows]
        self._partners = PartnerSampler(self._groups) if paired else None
        self._failed: dict[int, BadImage] = {}

    @property
    def spaces(self) -> Mapping[str, Space]:
        names = ("image",) if self._partners is None else ("image", "partner")
        return dict.fromkeys(names, self._params.space)

    @property
    def labels(self) -> Tensor:
        return self._targets

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def groups(self) -> Tensor:
        return self._groups

    @property
    def bad_images(self) -> tuple[BadImage, ...]:
        failed = dict(self._failed)  # a thread may be adding to it
        return (*self._pack.bad, *(failed[i] for i in sorted(failed)))

    @property
    def files(self) -> tuple[str, ...]:
        views = self._pack.view[self._rows].tolist()
        owners = [self._pack.owners[i] for i in self._groups.tolist()]
        return tuple(f"{owner}/image_{view}.jpg" for owner, view in zip(owners, views, strict=True))

    def fingerprint(self, index: Tensor) -> str:
        """Digest of the pack's folder, and of its index and the sizes and times of its shards."""
        return self._digest(index, str(self._pack.folder.resolve()))

    @cached_property
    def digest(self) -> str:
        return self._digest(torch.arange(len(self)), "")

    def _digest(self, index: Tensor, folder: str) -> str:
        pack, rows = self._pack, self._rows[index]
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self._reader.size, self._swap, os.fsencode(folder), pack.versions)).encode())
        ranges = torch.from_numpy(pack.byte_ranges)
        for values in (ranges[rows], pack.latents[rows], self._targets[index], self._groups[index]):
            digest.update(values.contiguous().numpy().data)
        return digest.hexdigest()

    def batch(self, index: Tensor, epoch: int = 0) -> Batch:
        """The samples ``index``, decoded.

        Raises:
            UserError: too many images cannot be decoded.
        """
        images, params, used, replaced = decode_pairs(
            self._readable, index, self._reader, self._params, self._partners, epoch
        )
        return Batch(images, params, self._targets[used], index, replaced)

    def readable(self, index: Tensor) -> Tensor:
        return index[decode_all(self._readable, index, self._reader)[1] == index]

    def load(self, progress: Progress = no_progress) -> InMemoryDataset:
        """All images decoded into memory, without the bad ones."""
        size, threads = self._reader.size, self._reader.threads
        good: list[int] = []
        images = torch.empty(len(self), 3, size, size, dtype=torch.uint8)
        for number, image in enumerate(prefetch_map(self._decode, range(len(self)), 4 * threads, threads)):
            if isinstance(image, BadImage):
                self._failed[number] = image
            else:
                images[len(good)] = image
                good.append(number)
            if number % 100 == 99 or number + 1 == len(self):
                progress("reading images", number + 1, len(self))
        self._reader.check_bad(self.bad_images, len(self) + len(self._pack.bad))
        rows, files = torch.tensor(good), self.files
        dataset = InMemoryDataset(images[: len(good)], self._params[rows], self._targets[rows], self._classes)
        return replace(
            dataset,
            group_ids=self._groups[rows],
            paired=self._partners is not None,
            bad_files=self.bad_images,
            file_names=tuple(files[i] for i in good),
        )

    def _readable(self, number: int) -> tuple[Tensor, int]:
        """Image ``number``, or the next that can be decoded, and its number."""
        while True:
            image = self._failed.get(number) or self._decode(number)
            if isinstance(image, Tensor):
                return image, number
            self._failed[number] = image
            self._reader.check_bad(self.bad_images, len(self) + len(self._pack.bad))
            number = (number + 1) % len(self)

    def _decode(self, number: int) -> Tensor | BadImage:
        image = self._pack.image(int(self._rows[number]), self._reader.size)
        return image.flip(0) if self._swap and isinstance(image, Tensor) else image
