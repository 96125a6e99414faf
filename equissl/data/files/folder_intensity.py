"""The intensity range of a folder, from a bounded number of its files, chosen by a hash of their names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from equissl.data.base import BadImage
from equissl.data.files.decode import Decoding, Header, read_extremes, read_header
from equissl.data.files.depth import Extremes, IntensityRange, decide, kind_of
from equissl.data.files.scan import Listing
from equissl.data.files.split import hash_fraction
from equissl.data.loader import prefetch_map
from equissl.progress import Progress, no_progress

MAX_HEADERS = 1000  # files whose headers are read
MAX_DECODED = 100  # files of each kind that are decoded


def folder_intensity(
    listing: Listing, how: Decoding, threads: int, progress: Progress = no_progress
) -> IntensityRange:
    """Black and white of the images of a folder with more than 8 bits, as ``depth.decide`` explains.

    It depends on names and content alone: it is the same for every split, limit and machine.

    Args:
        how: of which size and memory count.
    """
    order = sorted(range(len(listing)), key=lambda i: hash_fraction(listing.files[i], "intensity"))
    sample = [listing.files[i] for i in order[:MAX_HEADERS]]

    def header(file: str) -> Header | BadImage:
        return read_header(listing.root / file, file, how)

    by_kind: dict[str, list[str]] = defaultdict(list)
    for file, found in zip(sample, prefetch_map(header, sample, 4 * threads, threads), strict=True):
        if isinstance(found, Header) and (kind := kind_of(found.mode)):
            by_kind[kind].append(file)
    chosen = [file for files in by_kind.values() for file in files[:MAX_DECODED]]
    return decide(_extremes(listing, chosen, how, threads, progress))


def _extremes(
    listing: Listing, files: Sequence[str], how: Decoding, threads: int, progress: Progress
) -> list[Extremes]:
    def work(file: str) -> Extremes | BadImage | None:
        return read_extremes(listing.root / file, file, how)

    found: list[Extremes] = []
    for done, result in enumerate(prefetch_map(work, files, 2 * threads, threads), 1):
        if isinstance(result, Extremes):
            found.append(result)
        progress("reading depths", done, len(files))
    return found
