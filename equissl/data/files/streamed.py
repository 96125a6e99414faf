"""Images read from files: all at once into memory, or each time they are used."""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from equissl.data.base import BadImage, Dataset, Resident
from equissl.data.batch import Batch
from equissl.data.files.decode import Fit, Header, decode, read_header
from equissl.data.files.scan import Listing
from equissl.data.loader import ahead
from equissl.errors import UserError
from equissl.params import Params, Space
from equissl.progress import Progress, no_progress

T = TypeVar("T")

_BLOCK = 32  # files per task of a worker: small enough for a smooth progress bar
_SHOWN = 5  # bad files named in an error


@dataclass(frozen=True)
class Reader:
    """How files become images.

    Args:
        size: side in pixels of the square.
        fit: how an image becomes a square.
        bad_limit: share of unreadable files, in [0, 1], above which to refuse.
        workers: threads; 0 for one per core.
    """

    size: int
    fit: Fit = "crop"
    bad_limit: float = 0.05
    workers: int = 0

    def resident(self, listing: Listing, progress: Progress = no_progress) -> Resident:
        """Decode everything now.

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
        self.refuse(bad, len(listing))
        params = Params.of(Space(), {}, count=len(good))
        target = torch.tensor(listing.target, dtype=torch.int64)[good]
        files = tuple(listing.files[i] for i in good)
        return Resident(
            images[: len(good)], params, target, listing.classes, skipped=tuple(bad), sources=files
        )

    def streamed(self, listing: Listing, progress: Progress = no_progress) -> Streamed:
        """Check headers now, decode later.

        Raises:
            UserError: too many files are bad.
        """
        good: list[int] = []
        bad: list[BadImage] = []
        for row, header in self._each(listing, _header, "checking files", progress):
            if isinstance(header, BadImage):
                bad.append(header)
            else:
                good.append(row)
        self.refuse(bad, len(listing))
        return Streamed(self, listing.rows(good), bad)

    def decode(self, listing: Listing, row: int) -> Tensor | BadImage:
        """One image: (3, size, size) uint8."""
        file = listing.files[row]
        return decode(listing.root / file, file, self.size, self.fit)

    @property
    def threads(self) -> int:
        """How many threads decode; Pillow lets others run meanwhile."""
        if self.workers:
            return self.workers
        return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1

    def refuse(self, bad: Sequence[BadImage], count: int) -> None:
        """Stop if too many of ``count`` files are bad.

        Raises:
            UserError: with the first few of them, and how to go on all the same.
        """
        if len(bad) <= self.bad_limit * count and len(bad) < count:
            return
        share = len(bad) / count
        problem = f"none of the {count} images can be read"
        if len(bad) < count:
            problem = (
                f"{len(bad)} of {count} images ({share:.1%}) cannot be read, more than "
                f"data.bad_limit={self.bad_limit:g}; repair or remove them, or set "
                f"data.bad_limit={math.ceil(share * 100) / 100:g} to leave them out"
            )
        shown = [f"{b.path}: {b.reason}" for b in bad[:_SHOWN]]
        shown += [f"and {len(bad) - _SHOWN} more"] if len(bad) > _SHOWN else []
        raise UserError("\n  ".join([f"{problem}:", *shown]))

    def _each(
        self, listing: Listing, work: Callable[[Listing, int], T], what: str, progress: Progress
    ) -> Iterator[tuple[int, T]]:
        def block(rows: range) -> list[T]:
            return [work(listing, row) for row in rows]

        count = len(listing)
        blocks = [range(a, min(a + _BLOCK, count)) for a in range(0, count, _BLOCK)]
        results = ahead(block, blocks, 4 * self.threads, self.threads)
        for rows, found in zip(blocks, results, strict=True):
            yield from zip(rows, found, strict=True)
            progress(what, rows.stop, count)


class Streamed(Dataset):
    """Images decoded whenever they are used.

    One that turns out bad only then is replaced by the next that can be read; its label becomes -1 and it
    joins ``bad_images``.

    Args:
        reader: how.
        listing: images whose headers are good.
        left_out: those whose headers are not.
    """

    def __init__(self, reader: Reader, listing: Listing, left_out: Sequence[BadImage] = ()):
        self._reader, self._listing, self._left_out = reader, listing, tuple(left_out)
        self._failed: dict[int, BadImage] = {}
        self._target = torch.tensor(listing.target, dtype=torch.int64)

    @property
    def spaces(self) -> Mapping[str, Space]:
        return {"image": Space()}

    @property
    def labels(self) -> Tensor:
        return self._target

    @property
    def classes(self) -> tuple[str, ...]:
        return self._listing.classes

    @property
    def groups(self) -> Tensor:
        return torch.arange(len(self._target))

    @property
    def bad_images(self) -> tuple[BadImage, ...]:
        failed = dict(self._failed)  # a worker may be adding to it
        return (*self._left_out, *(failed[i] for i in sorted(failed)))

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(self._listing.files)

    def fingerprint(self, index: Tensor) -> str:
        """By name, size and time of change of each file, which needs no decoding."""
        listing, digest = self._listing, hashlib.blake2b(digest_size=16)
        digest.update(f"{self._reader.size} {self._reader.fit} {listing.root.resolve()}".encode())
        for row in index.tolist():
            file, state = listing.files[row], (listing.root / listing.files[row]).stat()
            facts = (os.fsencode(file), state.st_size, state.st_mtime_ns, int(self._target[row]))
            digest.update(repr(facts).encode())
        return digest.hexdigest()

    def batch(self, index: Tensor, epoch: int = 0) -> Batch:
        """The samples ``index``, decoded.

        Raises:
            UserError: by now too many files have turned out to be bad.
        """
        size, threads = self._reader.size, self._reader.threads
        images = torch.empty(len(index), 3, size, size, dtype=torch.uint8)
        for k, image in enumerate(ahead(self._readable, index.tolist(), 2 * threads, threads)):
            images[k] = image
        params = Params.of(Space(), {}, count=len(index))
        return Batch({"image": images}, {"image": params}, self._target[index], index)

    def _readable(self, number: int) -> Tensor:
        """Image ``number``, or the next that can be read; ``refuse`` ends the search if there is none."""
        while True:
            found = self._failed.get(number) or self._reader.decode(self._listing, number)
            if isinstance(found, Tensor):
                return found
            self._failed[number], self._target[number] = found, -1
            self._reader.refuse(self.bad_images, len(self) + len(self._left_out))
            number = (number + 1) % len(self)


def _header(listing: Listing, row: int) -> Header | BadImage:
    file = listing.files[row]
    return read_header(listing.root / file, file)
