"""Summary of an image folder: formats, sizes, unreadable files, labels, duplicates and decoding speed."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equissl.data.base import BadImage
from equissl.data.files.decode import Decoding, Header, decode, read_header
from equissl.data.files.depth import IntensityRange
from equissl.data.files.folder_intensity import folder_intensity
from equissl.data.files.labels import natural
from equissl.data.files.reader import ImageReader
from equissl.data.files.scan import Listing, scan
from equissl.data.files.split import hash_fraction, split_folders
from equissl.data.loader import prefetch_map
from equissl.data.tables.cells import is_table, read_cells
from equissl.data.tables.listing import listing_of
from equissl.data.tables.schema import TableSchema
from equissl.errors import UserError
from equissl.progress import Progress, no_progress, seconds_since
from equissl.text import printable

LEVELS = (0.0, 0.05, 0.5, 0.95, 1.0)  # the quantiles of a summary
_SPEED_SIZE = 224  # pixels, of the decoding speed


@dataclass(frozen=True)
class Summary:
    """Statistics of an image folder, see ``summarise``.

    Args:
        path: the folder.
        images: number of image files.
        decoded: number of decoded images, of which formats, modes, sides, aspects and bad files are.
        formats, modes: name -> count, most frequent first.
        sides: quantiles ``LEVELS`` of the shorter side in pixels.
        aspects: quantiles ``LEVELS`` of width / height.
        bad: files that cannot be used.
        splits: split -> its folder; empty for a split by hash.
        folders: class folder -> count; empty if there are fewer than two.
        intensity: black and white of images with more than 8 bits.
        compared: number of images compared for duplicates.
        duplicates: groups of files with equal content.
        conflicts: those of them that lie in different class folders.
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
    intensity: IntensityRange
    compared: int
    duplicates: tuple[tuple[str, ...], ...]
    conflicts: tuple[tuple[str, ...], ...]
    images_per_second: float


def summarise(
    path: str, sample: int = 2000, compare: int = 100_000, progress: Progress = no_progress
) -> Summary:
    """Statistics of the images in a folder, or of a table.

    >>> import tempfile
    >>> from equissl.data.image_folder import write_images
    >>> folder = tempfile.TemporaryDirectory()
    >>> write_images(Path(folder.name), {"cats": 3, "dogs": 2})
    >>> summarise(folder.name).folders
    {'cats': 3, 'dogs': 2}
    >>> folder.cleanup()

    Args:
        sample: maximum number of decoded images, chosen by a hash of their paths.
        compare: maximum number of images compared for duplicates.

    Raises:
        UserError: the folder does not exist or holds no images, or the table cannot be read.
    """
    listing = listing_of(read_cells(path), TableSchema()) if is_table(path) else scan(path)
    order = sorted(range(len(listing)), key=lambda i: hash_fraction(listing.files[i], "check"))
    intensity = folder_intensity(listing, Decoding(_SPEED_SIZE), ImageReader(_SPEED_SIZE).threads, progress)
    start = time.perf_counter()
    headers, bad = _decode_all(listing.select(sorted(order[:sample])), intensity, progress)
    seconds = seconds_since(start)
    compared = listing.select(sorted(order[:compare]))
    duplicates = _duplicates(compared, progress)
    class_by_file = {} if is_table(path) else _class_folders(path)
    return Summary(
        path=path,
        images=len(listing),
        decoded=len(headers) + len(bad),
        formats=_count(h.format for h in headers),
        modes=_count(h.mode for h in headers),
        sides=_quantiles([min(h.width, h.height) for h in headers]),
        aspects=_quantiles([h.width / h.height for h in headers]),
        bad=tuple(bad),
        splits={str(split): name for split, name in split_folders(listing.root).items()},
        folders=dict(sorted(Counter(class_by_file.values()).items(), key=lambda item: natural(item[0]))),
        intensity=intensity,
        compared=len(compared),
        duplicates=duplicates,
        conflicts=tuple(g for g in duplicates if len({class_by_file.get(f, "") for f in g} - {""}) > 1),
        images_per_second=len(headers) / seconds,
    )


def format_summary(summary: Summary, max_files: int = 10, table: Sequence[str] = ()) -> list[str]:
    """A summary as lines of text, with at most ``max_files`` files of each kind.

    Args:
        table: lines of a table on its columns, instead of those on folders.
    """
    s = summary
    text = [f"{s.images:,} images {'of' if table else 'below'} {printable(str(s.path))}"]
    if s.decoded < s.images:
        text.append(f"of which {s.decoded:,} were decoded, for formats, sizes and unreadable files")
    text.append(f"formats: {_format_counts(s.formats)}; modes: {_format_counts(s.modes)}")
    if s.sides:
        text.append(
            f"shorter side (px): {_format_quantiles(s.sides, '.0f')}; "
            f"width / height: {_format_quantiles(s.aspects, '.2f')}"
        )
    text += filter(None, [_intensity_line(s.intensity)])
    text.append(f"unreadable: {len(s.bad):,} ({100 * len(s.bad) / s.decoded:.1f} %)")
    text += [f"  {printable(bad.path)}: {bad.reason}" for bad in s.bad[:max_files]]
    text += table or [_split_line(s.splits), _label_line(s.folders, max_files)]
    among = "" if s.compared == s.images else f" among {s.compared:,} compared"
    text.append(f"duplicates: {sum(len(group) - 1 for group in s.duplicates):,}{among}")
    text += [f"  {' = '.join(map(printable, group[:4]))}" for group in s.duplicates[:max_files]]
    if s.conflicts:
        text.append(f"equal images under different labels: {len(s.conflicts):,}")
        text += [f"  {' = '.join(map(printable, group[:4]))}" for group in s.conflicts[:max_files]]
    text.append(f"decoding: {s.images_per_second:,.0f} img/s at {_SPEED_SIZE} px")
    return text


def _decode_all(
    listing: Listing, intensity: IntensityRange, progress: Progress
) -> tuple[list[Header], list[BadImage]]:
    def examine(file: str) -> Header | BadImage:
        header = read_header(listing.root / file, file)
        image = decode(listing.root / file, file, Decoding(_SPEED_SIZE, intensity=intensity))
        return image if isinstance(image, BadImage) else header

    threads = ImageReader(_SPEED_SIZE).threads
    headers: list[Header] = []
    bad: list[BadImage] = []
    for result in prefetch_map(examine, listing.files, 4 * threads, threads):
        if isinstance(result, BadImage):
            bad.append(result)
        else:
            headers.append(result)
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


def _class_folders(path: str) -> dict[str, str]:
    """File -> its class folder; empty if there are fewer than two."""
    try:
        listing = scan(path, "folders")
    except UserError:
        return {}
    pairs = zip(listing.files, listing.targets, strict=True)
    return {file: listing.classes[target] for file, target in pairs if target >= 0}


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _quantiles(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(q) for q in np.quantile(values, LEVELS)) if values else ()


def _format_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def _format_quantiles(values: Sequence[float], form: str) -> str:
    low, early, middle, late, high = (format(v, form) for v in values)
    return f"median {middle}, 90 % in [{early}, {late}], range [{low}, {high}]"


def _intensity_line(intensity: IntensityRange) -> str:
    kinds = (("whole numbers", "integer", intensity.integers), ("floats", "float", intensity.floats))
    found = [f"{word} as data.{kind}_range=[{r[0]:g},{r[1]:g}]" for word, kind, r in kinds if r]
    return f"more than 8 bits, black and white: {'; '.join(found)}" if found else ""


def _split_line(splits: Mapping[str, str]) -> str:
    if splits:
        return "splits: " + ", ".join(f"{split} is the folder {name}" for split, name in splits.items())
    return "splits: no train and test folders; data.test_fraction of the images by a hash of each path"


def _label_line(folders: Mapping[str, int], max_files: int) -> str:
    if not folders:
        return "labels: no class folders"
    first = dict(list(folders.items())[:max_files])
    more = ", ..." if len(folders) > max_files else ""
    return (
        f"labels: {len(folders)} class folders, used with data.labels=folders: {_format_counts(first)}{more}"
    )
