"""Packs: millions of small JPEG files in a few shards.

A pack is a folder of shards, ``00000.bin`` with the bytes of many JPEGs and ``00000.npz`` with the byte
offset, object and latents of each, and ``pack.json`` once all shards are written. Shards are written
atomically, so interrupted packing continues with the next shard.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equissl.data.base import BadImage
from equissl.data.files.decode import Decoding, decode_bytes
from equissl.data.files.reader import FileVersion, file_version
from equissl.data.packs.shard_index import read_index
from equissl.errors import UserError
from equissl.progress import Progress, no_progress
from equissl.storage import atomic_open, read_json, write_json
from equissl.text import printable

SHARD = 12_800  # images: 256 objects of 50 views, about 80 MB
_VERSION = 1
_MAX_VIEW = 10**9


@dataclass(frozen=True)
class Entry:
    """An image to be packed.

    Args:
        owner: the object it shows, such as "02691156/1a04e3ea".
        view: index among the object's images.
        load: returns the JPEG's bytes and the latents; raises OSError or ValueError if either cannot be used.
    """

    owner: str
    view: int
    load: Callable[[], tuple[bytes, NDArray[np.float64]]]


@dataclass(frozen=True)
class Pack:
    """The index of a pack, sorted by object and view.

    Args:
        owners: names of the objects, sorted.
        owner: (N,) int64, the object of each image.
        view: (N,) int64.
        latents: (N, L) float64.
        byte_ranges: (N, 3) int64: shard, first byte, one past the last.
        bad: images that could not be packed.
    """

    folder: Path
    owners: tuple[str, ...]
    owner: Tensor
    view: Tensor
    latents: Tensor
    byte_ranges: NDArray[np.int64]
    bad: tuple[BadImage, ...]

    def image(self, row: int, size: int) -> Tensor | BadImage:
        """(3, size, size) uint8."""
        shard, start, stop = self.byte_ranges[row].tolist()
        name = f"{self.owners[int(self.owner[row])]}/image_{int(self.view[row])}"
        try:
            with self._shard(shard).open("rb", buffering=0) as file:
                # Not memory-mapped: a shard that is cut while it is mapped would end the process.
                file.seek(start)
                data = file.read(stop - start)
        except OSError as error:
            return BadImage(name, f"unusable: its shard cannot be read ({error.strerror})")
        return decode_bytes(data, name, Decoding(size))

    @cached_property
    def versions(self) -> list[FileVersion]:
        """Size and modification time of each shard that holds images."""
        return [file_version(self._shard(n)) for n in np.unique(self.byte_ranges[:, 0]).tolist()]

    def _shard(self, number: int) -> Path:
        return self.folder / f"{number:05d}.bin"


def write_pack(
    folder: Path,
    entries: Iterable[Entry],
    metadata: dict[str, int],
    total: int,
    progress: Progress = no_progress,
) -> None:
    """Write a pack of ``entries``, whose order must not change; shards that exist are not written again.

    Args:
        metadata: stored in ``pack.json``, to compare with the source later.
        total: expected number of images, for the progress alone.
    """
    iterator = iter(entries)
    number = done = 0
    while (first := next(iterator, None)) is not None:
        chunk = itertools.chain([first], itertools.islice(iterator, SHARD - 1))
        if (folder / f"{number:05d}.npz").exists():
            done += sum(1 for _ in chunk)
        else:
            done += _write_shard(folder, number, chunk)
        number += 1
        progress("packing images", done, max(total, done))
    write_json(folder / "pack.json", {"version": _VERSION, "shards": number, **metadata})


def _write_shard(folder: Path, number: int, chunk: Iterable[Entry]) -> int:
    """Write a shard, with one image in memory at a time; returns the number of its entries."""
    bad: list[tuple[str, str]] = []
    good: list[tuple[str, int]] = []
    ends: list[int] = [0]
    latents: list[NDArray[np.float64]] = []
    with atomic_open(folder / f"{number:05d}.bin", "wb") as file:
        for entry in chunk:
            try:
                if entry.view > _MAX_VIEW:
                    raise ValueError(f"its number is above {_MAX_VIEW:,}")
                data, latent = entry.load()
                _check_jpeg(data)
                if latents and latent.shape != latents[0].shape:
                    raise ValueError(f"it has {len(latent)} latents, others have {len(latents[0])}")
            except (OSError, ValueError) as error:
                bad.append((f"{entry.owner}/{entry.view}", f"unusable: {error}"))
                continue
            file.write(data)
            good.append((entry.owner, entry.view))
            latents.append(latent)
            ends.append(ends[-1] + len(data))
    names, owner = np.unique([o for o, _ in good], return_inverse=True) if good else ([], [])
    with atomic_open(folder / f"{number:05d}.npz", "wb") as index:
        np.savez(
            index,
            owners=np.array(names, dtype=np.str_),
            owner=np.array(owner, dtype=np.int64),
            view=np.array([view for _, view in good], dtype=np.int64),
            latents=np.stack(latents) if latents else np.zeros((0, 0)),
            ends=np.array(ends, dtype=np.int64),
            bad=np.array(bad, dtype=np.str_).reshape(-1, 2),
        )
    return len(good) + len(bad)


def _check_jpeg(data: bytes) -> None:
    if data[:2] != b"\xff\xd8":
        raise ValueError("the image is not a JPEG" if data else "the image is empty (0 bytes)")
    if data[-2:] != b"\xff\xd9":
        raise ValueError("the image is truncated: it does not end as a JPEG does")


def pack_metadata(folder: Path) -> dict[str, int] | None:
    """The metadata in ``pack.json``, None for an unfinished pack.

    Raises:
        UserError: it cannot be read, or has another version.
    """
    path = folder / "pack.json"
    if not path.exists():
        return None
    metadata = read_json(path)
    if not isinstance(metadata, dict) or not all(
        type(metadata.get(name)) is int and metadata[name] >= 0 for name in ("version", "shards")
    ):
        raise UserError(f"{str(path)!r} is not of a pack; delete the folder to pack again")
    if metadata["version"] != _VERSION:
        raise UserError(f"{str(folder)!r} was packed by another version; delete it to pack again")
    return metadata


def read_pack(folder: Path, progress: Progress = no_progress) -> Pack:
    """Open a finished pack.

    Raises:
        UserError: a shard is missing or damaged, or there is no image in it.
    """
    metadata = pack_metadata(folder) or {}
    names: dict[str, int] = {}
    columns: list[tuple[NDArray[np.int64], ...]] = []
    latents, bad = [], []
    for number in range(metadata.get("shards", 0)):
        shard = read_index(folder, number)
        bad += [BadImage(path, reason) for path, reason in shard["bad"].tolist()]
        if not len(shard["owner"]):
            continue
        ids = np.array([names.setdefault(n, len(names)) for n in shard["owners"].tolist()], dtype=np.int64)
        shard_index = np.full(len(shard["owner"]), number)
        columns.append(
            (ids[shard["owner"]], shard["view"], shard_index, shard["ends"][:-1], shard["ends"][1:])
        )
        latents.append(shard["latents"])
        progress("reading the index", number + 1, metadata["shards"])
    if not columns:
        reasons = "; ".join(f"{printable(b.path)}: {printable(b.reason)}" for b in bad[:5])
        raise UserError(f"no image in {str(folder)!r} can be used ({reasons or 'it is empty'})")
    if len({part.shape[1] for part in latents}) > 1:
        raise UserError(f"images in {str(folder)!r} have different numbers of latents")
    owner, view, shards, starts, stops = (np.concatenate(c) for c in zip(*columns, strict=True))
    sorted_names = sorted(names)
    rank = np.empty(len(names), dtype=np.int64)
    rank[[names[n] for n in sorted_names]] = np.arange(len(names))
    owner = rank[owner]
    order = np.lexsort((view, owner))
    again = np.zeros(len(order), dtype=bool)  # an archive may hold a file twice
    again[1:] = (owner[order][1:] == owner[order][:-1]) & (view[order][1:] == view[order][:-1])
    bad += [
        BadImage(f"{sorted_names[owner[k]]}/{view[k]}", "in the archive twice; the first is used")
        for k in order[again].tolist()
    ]
    order = order[~again]
    return Pack(
        folder,
        tuple(sorted_names),
        torch.from_numpy(owner[order]),
        torch.from_numpy(view[order]),
        torch.from_numpy(np.concatenate(latents)[order]),
        np.stack([shards, starts, stops], 1)[order],
        tuple(bad),
    )


def rows_of(pack: Pack, objects: Iterable[str]) -> Tensor:
    """Rows of all images of some objects, (n,) int64 in the pack's order."""
    selected = set(objects)
    mask = torch.tensor([name in selected for name in pack.owners])
    return mask[pack.owner].nonzero()[:, 0]


def numbered(names: Iterator[str], prefix: str, suffix: str) -> list[int]:
    """The numbers in names ``prefix<number>suffix``, sorted; other names are skipped.

    >>> numbered(iter(["image_10.jpg", "image_2.jpg", "image_02.jpg", "notes.txt"]), "image_", ".jpg")
    [2, 10]
    """
    # Not 02, which would be 2 a second time; and no longer than a file name.
    pattern = re.compile(f"{re.escape(prefix)}(0|[1-9][0-9]{{0,249}}){re.escape(suffix)}")
    return sorted(int(m[1]) for m in map(pattern.fullmatch, names) if m)
