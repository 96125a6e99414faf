"""Decoding of image files to 8-bit RGB; a file that cannot be decoded gives a ``BadImage``.

The format is read from the content, not from the name. Only the first frame is decoded, EXIF orientation is
applied, transparency is composited over white, ICC profiles are ignored, and more than 8 bits are read by an
intensity range (``depth.py``). A truncated file is bad, as its missing rows would be grey.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import torch
from PIL import ExifTags, Image, ImageFile
from torch import Tensor

from equissl.data.base import BadImage
from equissl.data.files.depth import (
    Extremes,
    IntensityRange,
    UnusableImageError,
    decide,
    extremes,
    kind_of,
)
from equissl.data.files.memory import MemoryBudget, decoding_bytes
from equissl.data.files.pixels import ORIENTATIONS, Box, Fit, Orientation, Upright, fit
from equissl.text import printable

T = TypeVar("T")

MAX_PIXELS = 178_956_970  # Pillow's own limit
MAX_DECODING_GB = 4.0  # in 10^9 bytes, over all threads of a process
_MEMORY = MemoryBudget()
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO")
_JPEG_SCALES = (8, 4, 2, 1)  # by which a JPEG decoder can divide both sides


@dataclass(frozen=True)
class Header:
    """Format, mode and size of an image file; sides in pixels, before EXIF orientation."""

    format: str
    mode: str
    width: int
    height: int


@dataclass(frozen=True)
class Decoding:
    """What is made of an image file.

    Args:
        size: side in pixels of the square; 0 keeps the size of the image.
        fit: how an image becomes a square.
        intensity: black and white of images with more than 8 bits; ``None`` decides it image by image.
        memory_gb: maximum memory of all images that are being decoded, in 10^9 bytes.
    """

    size: int = 0
    fit: Fit = "crop"
    intensity: IntensityRange | None = None
    memory_gb: float = MAX_DECODING_GB


def decode(path: Path, name: str = "", how: Decoding = Decoding()) -> Tensor | BadImage:
    """The image in a file; waits while other threads use the memory that it needs.

    Args:
        name: of the file in a ``BadImage``; its path if empty.

    Returns:
        (3, H, W) uint8, or (3, size, size).
    """
    return _read(path, name, lambda image: _decode_image(image, how))


def decode_bytes(data: bytes, name: str, how: Decoding = Decoding()) -> Tensor | BadImage:
    """As ``decode``, for the bytes of a file."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with _identified(io.BytesIO(data)) as image:
            return _decode_image(image, how)
    except Exception as error:  # as in _read
        return BadImage(name, _reason(error))


def read_header(path: Path, name: str = "", how: Decoding = Decoding()) -> Header | BadImage:
    """Format, mode and size of a file, without decoding it; truncated pixel data is not noticed."""
    return _read(path, name, lambda image: _header(image, how))


def read_extremes(path: Path, name: str = "", how: Decoding = Decoding()) -> Extremes | BadImage | None:
    """Smallest and largest number of an image with more than 8 bits per channel; ``None`` for any other."""

    def work(image: ImageFile.ImageFile) -> Extremes | None:
        if kind_of(image.mode) is None:
            return None
        with _loaded(image, how):
            return extremes(image)

    return _read(path, name, work)


def ignore_metadata_warnings() -> None:
    """Ignore Pillow's warnings of broken metadata; once, on import, as filters are not per thread."""
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _read(path: Path, name: str, work: Callable[[ImageFile.ImageFile], T]) -> T | BadImage:
    try:
        with _opened(path) as image:
            return work(image)
    except Exception as error:  # Pillow's plugins raise almost any exception on a damaged file
        return BadImage(name or str(path), _reason(error))


def _decode_image(image: ImageFile.ImageFile, how: Decoding) -> Tensor:
    with _loaded(image, how) as covered:
        orientation = _orientation(image)
        intensity = how.intensity
        if intensity is None:
            intensity = decide([extremes(image)] if kind_of(image.mode) else [])
        upright = Upright(image, orientation, intensity)
        if not how.size:
            return _tensor(upright.pixels().convert("RGB"))
        box = orientation.upright(covered, image.size) if orientation else covered
        return _tensor(fit(upright, how.size, how.fit, box))


@contextmanager
def _loaded(image: ImageFile.ImageFile, how: Decoding) -> Iterator[Box]:
    """Decode an image within the budget of memory; gives the part of its stored pixels that it covers."""
    covered, needed = _reduce_scale(image, how)
    with _MEMORY.reserve(needed, int(how.memory_gb * 1e9)):
        image.load()
        yield covered


def _orientation(image: ImageFile.ImageFile) -> Orientation | None:
    """The EXIF orientation; ``None`` for an upright image."""
    # Unreadable metadata does not make an image bad.
    with contextlib.suppress(Exception):
        return ORIENTATIONS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return None


def _header(image: ImageFile.ImageFile, how: Decoding) -> Header:
    header = Header(image.format or "", image.mode, *image.size)
    _reduce_scale(image, how)
    return header


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnusableImageError):
        return text
    if isinstance(error, PermissionError):
        return "not readable: no permission"
    if isinstance(error, MemoryError):
        return "too large for the memory that is left"
    lowered = text.lower()
    if any(sign in lowered for sign in ("truncated", "end of file", "not enough data", "broken data")):
        return f"truncated: the file ends before the image does ({text})"
    return f"damaged or not supported ({printable(text)[:200]})"


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    # Other libraries switch this on for the whole process; missing rows would be grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    _check_file(path)
    with path.open("rb") as file, _identified(file) as image:
        yield image


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        if not path.is_symlink():
            raise UnusableImageError("missing") from None
        target = printable(repr(os.readlink(path)))
        raise UnusableImageError(f"a link to {target}, which does not exist") from None
    if stat.S_ISDIR(status.st_mode):
        raise UnusableImageError("a folder, not an image")
    if not stat.S_ISREG(status.st_mode):
        raise UnusableImageError("not a regular file")
    if not status.st_size:
        raise UnusableImageError("empty (0 bytes)")


def _identified(file: BinaryIO) -> ImageFile.ImageFile:
    """The image in an open file, by its first bytes.

    ``Image.open`` would do the same, but it warns of or refuses large images before a JPEG can be asked
    to decode at a reduced scale, and its limit is shared by the whole process.
    """
    start = file.read(16)
    if start[4:12] in (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1", b"ftypmsf1"):
        raise UnusableImageError("a HEIC image, which Pillow cannot read; convert it to JPEG or PNG")
    factory = next((Image.OPEN[f][0] for f in FORMATS if _accepts(f, start)), None)
    if factory is None:
        raise UnusableImageError("not an image, whatever its name says")
    file.seek(0)
    return factory(file, "")


def is_image(start: bytes) -> bool:
    """Whether the first 16 bytes of a file are those of a format that can be read."""
    return any(_accepts(f, start) for f in FORMATS)


def _accepts(name: str, start: bytes) -> bool:
    _, accept = Image.OPEN.get(name, (None, None))
    # A plugin whose library is missing answers with a sentence instead of a yes.
    return accept is not None and accept(start) in (True, 1)


def _reduce_scale(image: ImageFile.ImageFile, how: Decoding) -> tuple[Box, int]:
    """Set a JPEG to decode at a reduced scale: at least twice the size asked for, and at most ``MAX_PIXELS``.

    The decoder then averages in the cosine domain, instead of ``fit``. From twice the size on the difference
    is small: ``benchmarks/decode.py`` measures it, docs/decoding.md has the table.

    Returns:
        The box of decoded pixels that the image covers, the last ones perhaps in part; and the memory needed
        to decode it, in bytes.

    Raises:
        UnusableImageError: the image is too large.
    """
    width, height = image.size
    scale = _jpeg_scale(width, height, how.size) if image.format in ("JPEG", "MPO") else 1
    needed = decoding_bytes(image, how.size, scale)
    if needed > how.memory_gb * 1e9:
        raise UnusableImageError(
            f"too large: {width:,} x {height:,} pixels need {needed / 1e9:.2g} GB of memory to decode, more "
            f"than data.decoding_gb={how.memory_gb:g}; make it smaller, or raise that"
        )
    covered: Box = (0.0, 0.0, *image.size)
    if scale > 1:
        reduced = image.draft(None, (max(width // scale, 1), max(height // scale, 1)))
        covered = reduced[1] if reduced else covered
    if image.size[0] * image.size[1] > MAX_PIXELS:
        raise UnusableImageError(
            f"too large: {width * height:,} pixels, more than the limit of {MAX_PIXELS:,}"
        )
    return covered, needed


def _jpeg_scale(width: int, height: int, size: int) -> int:
    """By which both sides of a JPEG are divided."""
    spare = min(width, height) // (2 * size) if size else 1
    needed = math.sqrt(width * height / MAX_PIXELS)
    scale = next(s for s in _JPEG_SCALES if s <= max(spare, 1))
    return max(scale, next((s for s in reversed(_JPEG_SCALES) if s >= needed), _JPEG_SCALES[0]))


Image.init()
ignore_metadata_warnings()
