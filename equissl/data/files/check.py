"""What a folder of images holds and what is wrong with it, before anything is trained."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equissl.data.base import BadImage
from equissl.data.files.decode import Header, decode, printable, read_header
from equissl.data.files.scan import Listing, scan
from equissl.data.files.split import position, split_folders
from equissl.data.files.streamed import Reader
from equissl.data.loader import ahead
from equissl.errors import UserError
from equissl.progress import Progress, no_progress

LEVELS = (0.0, 0.05, 0.5, 0.95, 1.0)  # the quantiles of a summary
_SIZE = 224  # pixels; what the speed is measured at


@dataclass(frozen=True)
class Summary:
    """What ``summarise`` found.

    Args:
        path: the folder.
        images: how many files count as images.
        decoded: how many of them were decoded; formats, modes, sides, aspects and bad files are of these.
        formats, modes: name -> count, most frequent first.
        sides: quantiles ``LEVELS`` of the shorter side in pixels.
        aspects: quantiles ``LEVELS`` of width / height.
        bad: files that cannot be used.
        splits: split -> its folder; empty if a hash will decide.
        folders: label folder -> count; empty if there are fewer than two.
        compared: how many images were looked at for duplicates.
        duplicates: groups of files with equal content.
        images_per_second: decoded at 224 pixels with all cores.
    """

    path: str
    images: int
    decoded: int
    formats: Mapping[str, int]
    modes: Mapping[str, int]
    sides: tuple[float, ...]
    aspects: tuple[float, ...]
    bad: tuple[BadImage, ...]
    splits: Mapping[str, str]
    folders: Mapping[str, int]
    compared: int
    duplicates: tuple[tuple[str, ...], ...]
    images_per_second: float


def summarise(
    path: str, sample: int = 2000, compare: int = 100_000, progress: Progress = no_progress
) -> Summary:
    """Look through a folder.

    Args:
        sample: decode at most this many images, chosen by a hash of their paths.
        compare: look for duplicates among at most this many.

    Raises:
        UserError: the folder does not exist or holds no images.
    """
    listing = scan(path)
    chosen = sorted(range(len(listing)), key=lambda i: position(listing.files[i], "check"))
    began = time.perf_counter()
    headers, bad = _decode_all(listing.rows(sorted(chosen[:sample])), progress)
    seconds = time.perf_counter() - began
    compared = listing.rows(sorted(chosen[:compare]))
    return Summary(
        path=path,
        images=len(listing),
        decoded=len(headers) + len(bad),
        formats=_counted(h.format for h in headers),
        modes=_counted(h.mode for h in headers),
        sides=_quantiles([min(h.width, h.height) for h in headers]),
        aspects=_quantiles([h.width / h.height for h in headers]),
        bad=tuple(bad),
        splits={str(split): name for split, name in split_folders(listing.root).items()},
        folders=_label_folders(path),
        compared=len(compared),
        duplicates=_duplicates(compared, progress),
        images_per_second=len(headers) / seconds,
    )


def lines(summary: Summary, most: int = 10) -> list[str]:
    """A summary for people, at most ``most`` files of each kind."""
    s = summary
    text = [f"{s.images:,} images below {printable(s.path)}"]
    if s.decoded < s.images:
        text.append(f"of which {s.decoded:,} were decoded; what follows is about these unless it says so")
    text.append(f"formats: {_listed(s.formats)}; modes: {_listed(s.modes)}")
    if s.sides:
        text.append(
            f"shorter side, pixels: {_spread(s.sides, '.0f')}; width / height: {_spread(s.aspects, '.2f')}"
        )
    text.append(f"unreadable: {len(s.bad):,} ({len(s.bad) / s.decoded:.1%})")
    text += [f"  {bad.path}: {bad.reason}" for bad in s.bad[:most]]
    text.append(_split_line(s.splits))
    text.append(_label_line(s.folders, most))
    among = "" if s.compared == s.images else f" among {s.compared:,} compared"
    text.append(f"duplicates: {sum(len(group) - 1 for group in s.duplicates):,}{among}")
    text += [f"  {' = '.join(map(printable, group[:4]))}" for group in s.duplicates[:most]]
    text.append(f"decoding: about {s.images_per_second:,.0f} images per second at {_SIZE} pixels")
    return text


def _decode_all(listing: Listing, progress: Progress) -> tuple[list[Header], list[BadImage]]:
    def examine(file: str) -> Header | BadImage:
        header = read_header(listing.root / file, file)
        image = decode(listing.root / file, file, _SIZE)
        return image if isinstance(image, BadImage) else header

    threads = Reader(_SIZE).threads
    headers: list[Header] = []
    bad: list[BadImage] = []
    for found in ahead(examine, listing.files, 4 * threads, threads):
        if isinstance(found, BadImage):
            bad.append(found)
        else:
            headers.append(found)
        progress("reading images", len(headers) + len(bad), len(listing))
    return headers, bad


def _duplicates(listing: Listing, progress: Progress) -> tuple[tuple[str, ...], ...]:
    """Groups of equal files; only those of equal length are read."""
    by_length = defaultdict(list)
    for file in listing.files:
        by_length[_length(listing.root / file)].append(file)
    suspects = [f for length, group in by_length.items() if length and len(group) > 1 for f in group]
    by_content = defaultdict(list)
    for done, file in enumerate(suspects, 1):
        by_content[_digest(listing.root / file)].append(file)
        progress("comparing images", done, len(suspects))
    return tuple(tuple(group) for digest, group in by_content.items() if digest and len(group) > 1)


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError:
        return b""


def _label_folders(path: str) -> dict[str, int]:
    try:
        listing = scan(path, "folders")
    except UserError:
        return {}
    counts = Counter(listing.target)
    return {name: counts[i] for i, name in enumerate(listing.classes)}


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _quantiles(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(q) for q in np.quantile(values, LEVELS)) if values else ()


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def _spread(values: Sequence[float], form: str) -> str:
    low, early, middle, late, high = (format(v, form) for v in values)
    return f"median {middle}, 90% from {early} to {late}, all from {low} to {high}"


def _split_line(splits: Mapping[str, str]) -> str:
    if splits:
        return "splits: " + ", ".join(f"{split} is the folder {name}" for split, name in splits.items())
    return "splits: none in the folder; a hash of each path will set data.test_share of them aside"


def _label_line(folders: Mapping[str, int], most: int) -> str:
    if not folders:
        return "labels: no folders that could be classes"
    shown = dict(list(folders.items())[:most])
    more = ", ..." if len(folders) > most else ""
    return f"labels: {len(folders)} folders, used only with data.labels=folders: {_listed(shown)}{more}"
