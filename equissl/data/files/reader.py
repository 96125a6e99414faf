"""Reading image files: all at once into memory, or each time they are used."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from equissl.data.base import BadImage, Dataset, InMemoryDataset, PartnerSampler
from equissl.data.batch import Batch
from equissl.data.files.decode import MAX_DECODING_GB, Decoding, Header, decode, read_header
from equissl.data.files.depth import IntensityRange
from equissl.data.files.pixels import Fit
from equissl.data.files.scan import Listing
from equissl.data.loader import prefetch_map
from equissl.distributed import available_cores
from equissl.errors import UserError
from equissl.params import Params, Space
from equissl.progress import Progress, no_progress
from equissl.text import printable

T = TypeVar("T")
FileVersion = tuple[int, int]  # size in bytes and modification time in ns

_BLOCK_SIZE = 32  # files per task of a thread: small enough for a smooth progress bar
_MAX_NAMED = 5  # bad files in a message


@dataclass(frozen=True)
class ImageReader:
    """Decodes image files to squares of one size, with threads.

    Args:
        size: side in pixels of the square.
        fit: how an image becomes a square.
        max_bad_fraction: fraction of unreadable files, in [0, 1], above which ``check_bad`` raises.
        num_workers: threads; 0 for one per core.
        intensity: black and white of images with more than 8 bits; ``None`` decides it image by image.
        decoding_gb: maximum memory of the images that are being decoded, in 10^9 bytes.
    """

    size: int
    fit: Fit = "crop"
    max_bad_fraction: float = 0.05
    num_workers: int = 0
    intensity: IntensityRange | None = None
    decoding_gb: float = MAX_DECODING_GB

    def load(self, listing: Listing, progress: Progress = no_progress) -> InMemoryDataset:
        """Decode all files into memory.

        Raises:
            UserError: too many files are bad.
        """
        images = torch.empty(len(listing), 3, self.size, self.size, dtype=torch.uint8)
        good: list[int] = []
        bad: list[BadImage] = []
        for row, image in self._each(listing, self.decode, "reading images", progress):
            if isinstance(image, BadImage):
                bad.append(image)
            else:
                images[len(good)] = image
                good.append(row)
        self.check_bad(bad, len(listing))
        kept = listing.select(good)
        known = kept.measurements
        return InMemoryDataset(
            images[: len(good)],
            known.params,
            torch.tensor(kept.targets, dtype=torch.int64),
            kept.classes,
            known.groups if kept.measured else None,
            known.paired,
            tuple(bad),
            kept.files,
        )

    def stream(self, listing: Listing, progress: Progress = no_progress) -> StreamedDataset:
        """Check all headers now; decode each image when it is used.

        Raises:
            UserError: too many files are bad.
        """
        good: list[int] = []
        bad: list[BadImage] = []
        versions: list[FileVersion] = []
        for row, (version, header) in self._each(listing, self._header, "checking files", progress):
            if isinstance(header, BadImage):
                bad.append(header)
            else:
                good.append(row)
                versions.append(version)
        self.check_bad(bad, len(listing))
        return StreamedDataset(self, listing.select(good), versions, bad)

    def decode(self, listing: Listing, row: int) -> Tensor | BadImage:
        """One image: (3, size, size) uint8."""
        file = listing.files[row]
        return decode(listing.root / file, file, self.decoding)

    @property
    def decoding(self) -> Decoding:
        """What is made of each file."""
        return Decoding(self.size, self.fit, self.intensity, self.decoding_gb)

    def _header(self, listing: Listing, row: int) -> tuple[FileVersion, Header | BadImage]:
        file = listing.files[row]
        path = listing.root / file
        return file_version(path), read_header(path, file, self.decoding)

    @property
    def threads(self) -> int:
        """Number of decoding threads; Pillow releases the GIL."""
        if self.num_workers:
            return self.num_workers
        return available_cores()

    def check_bad(self, bad: Sequence[BadImage], count: int) -> None:
        """Check the number of bad files among ``count``.

        Raises:
            UserError: more than ``max_bad_fraction`` are bad; it names the first few.
        """
        if len(bad) <= self.max_bad_fraction * count and len(bad) < count:
            return
        fraction = len(bad) / count
        problem = f"data.path: none of the {count} images can be read"
        if len(bad) < count:
            problem = (
                f"data.max_bad_fraction={self.max_bad_fraction:g}: {len(bad)} of {count} images "
                f"({100 * fraction:.1f} %) cannot be read. Repair or remove them, or skip them with "
                f"data.max_bad_fraction={math.ceil(fraction * 100) / 100:g}"
            )
        lines = [f"{printable(b.path)}: {b.reason}" for b in bad[:_MAX_NAMED]]
        lines += [f"and {len(bad) - _MAX_NAMED} more"] if len(bad) > _MAX_NAMED else []
        raise UserError("\n  ".join([f"{problem}:", *lines]))

    def _each(
        self, listing: Listing, work: Callable[[Listing, int], T], task: str, progress: Progress
    ) -> Iterator[tuple[int, T]]:
        def block(rows: range) -> list[T]:
            return [work(listing, row) for row in rows]

        count = len(listing)
        blocks = [range(a, min(a + _BLOCK_SIZE, count)) for a in range(0, count, _BLOCK_SIZE)]
        results = prefetch_map(block, blocks, 4 * self.threads, self.threads)
        for rows, block_results in zip(blocks, results, strict=True):
            yield from zip(rows, block_results, strict=True)
            progress(task, rows.stop, count)


class StreamedDataset(Dataset):
    """Images decoded whenever they are used.

    One that cannot be decoded is replaced by the next that can; its label becomes -1 and it is added to
    ``bad_images``.

    Args:
        reader: size, fit and threads.
        listing: files with readable headers.
        versions: of those files, when their headers were read.
        bad_headers: the other files.
    """

    def __init__(
        self,
        reader: ImageReader,
        listing: Listing,
        versions: Sequence[FileVersion],
        bad_headers: Sequence[BadImage] = (),
    ):
        self._reader, self._listing, self._bad_headers = reader, listing, tuple(bad_headers)
        self._versions = versions
        self._failed: dict[int, BadImage] = {}
        self._targets = torch.tensor(listing.targets, dtype=torch.int64)
        self._known = listing.measurements
        self._partners = PartnerSampler(self._known.groups) if self._known.paired else None

    @property
    def spaces(self) -> Mapping[str, Space]:
        names = ("image",) if self._partners is None else ("image", "partner")
        return dict.fromkeys(names, self._known.params.space)

    @property
    def labels(self) -> Tensor:
        return self._targets

    @property
    def classes(self) -> tuple[str, ...]:
        return self._listing.classes

    @property
    def groups(self) -> Tensor:
        return self._known.groups

    @property
    def bad_images(self) -> tuple[BadImage, ...]:
        failed = dict(self._failed)  # a thread may be adding to it
        return (*self._bad_headers, *(failed[i] for i in sorted(failed)))

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(self._listing.files)

    def fingerprint(self, index: Tensor) -> str:
        """Digest of the folder, and of name, size and modification time of each file, without decoding."""
        return self._digest(index.tolist(), str(self._listing.root.resolve()))

    @cached_property
    def digest(self) -> str:
        return self._digest(range(len(self)), "")

    def _digest(self, rows: Sequence[int], folder: str) -> str:
        digest = hashlib.blake2b(digest_size=16)
        digest.update(
            repr((self._reader.size, self._reader.fit, self._reader.intensity, os.fsencode(folder))).encode()
        )
        for row in rows:
            name, label = os.fsencode(self._listing.files[row]), self._listing.targets[row]
            digest.update(repr((name, self._versions[row], label)).encode())
        if self._listing.measured:
            known = self._known.select(torch.tensor(rows))
            for values in (*known.params.values.values(), known.groups):
                digest.update(values.contiguous().numpy().data)
        return digest.hexdigest()

    def batch(self, index: Tensor, epoch: int = 0) -> Batch:
        """The samples ``index``, decoded.

        Raises:
            UserError: too many files cannot be decoded.
        """
        images, params, _, replaced = decode_pairs(
            self._readable, index, self._reader, self._known.params, self._partners, epoch
        )
        return Batch(images, params, self._targets[index], index, replaced)

    def readable(self, index: Tensor) -> Tensor:
        return index[decode_all(self._readable, index, self._reader)[1] == index]

    def _readable(self, number: int) -> tuple[Tensor, int]:
        """Image ``number``, or the next that can be decoded, and its number."""
        while True:
            image = self._failed.get(number) or self._decode(number)
            if isinstance(image, Tensor):
                return image, number
            self._failed[number], self._targets[number] = image, -1
            self._reader.check_bad(self.bad_images, len(self) + len(self._bad_headers))
            number = (number + 1) % len(self)

    def _decode(self, number: int) -> Tensor | BadImage:
        """Image ``number`` of the file that the dataset was opened with, not of another in its place."""
        image = self._reader.decode(self._listing, number)
        if isinstance(image, Tensor):
            file = self._listing.files[number]
            if file_version(self._listing.root / file) != self._versions[number]:
                return BadImage(file, "not the same as when the folder was read (another size or time)")
        return image


def decode_all(
    decode: Callable[[int], tuple[Tensor, int]], index: Tensor, reader: ImageReader
) -> tuple[Tensor, Tensor]:
    """Images (B, 3, size, size) of the samples ``index``, and the samples (B,) that they are of.

    Args:
        decode: sample -> its image, or another sample's, and the sample that it is of.

    Raises:
        UserError: too many images cannot be decoded.
    """
    images = torch.empty(len(index), 3, reader.size, reader.size, dtype=torch.uint8)
    used = torch.empty_like(index)
    results = prefetch_map(decode, index.tolist(), 2 * reader.threads, reader.threads)
    for k, (image, number) in enumerate(results):
        images[k], used[k] = image, number
    return images, used


def decode_pairs(
    decode: Callable[[int], tuple[Tensor, int]],
    index: Tensor,
    reader: ImageReader,
    known: Params,
    partners: PartnerSampler | None,
    epoch: int,
) -> tuple[dict[str, Tensor], dict[str, Params], Tensor, Tensor]:
    """Images and factors of the samples ``index`` and of their partners, if there are any.

    Also the samples (B,) that the images are of, and whether another stands in for a sample or for its
    partner, (B,) bool.

    Args:
        decode: as of ``decode_all``.
        known: the factors of every sample.

    Raises:
        UserError: too many images cannot be decoded.
    """
    named = {"image": index} | ({} if partners is None else {"partner": partners.sample(index, epoch)})
    images, params, replaced = {}, {}, torch.zeros(len(index), dtype=torch.bool)
    for name, rows in named.items():
        images[name], named[name] = decode_all(decode, rows, reader)
        params[name] = known[named[name]]
        replaced |= named[name] != rows
    return images, params, named["image"], replaced


def file_version(path: Path) -> FileVersion:
    """Size and modification time of a file, in bytes and ns; (-1, -1) if it cannot be found."""
    try:
        status = path.stat()
    except OSError:
        return (-1, -1)
    return status.st_size, status.st_mtime_ns
