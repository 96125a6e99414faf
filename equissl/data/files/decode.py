"""Decoding of image files to 8-bit RGB; a file that cannot be decoded gives a ``BadImage``.

The format is read from the content, not from the name. Only the first frame is decoded, EXIF orientation is
applied, transparency is composited over white, ICC profiles are ignored, and 16-bit values are scaled, not
clipped. A truncated file is bad, as its missing rows would be grey.
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
from typing import Any, BinaryIO, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile
from torch import Tensor

from equissl.data.base import BadImage

Fit = Literal["crop", "squash", "pad"]
T = TypeVar("T")

MAX_PIXELS = 178_956_970  # Pillow's own limit: 0.7 GB once decoded
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO")
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_JPEG_SCALES = (8, 4, 2, 1)  # by which a JPEG decoder can divide both sides


class _Unusable(Exception):
    """A file cannot be used; the message is the reason in ``bad_images.csv``."""


@dataclass(frozen=True)
class Header:
    """Format, mode and size of an image file; sides in pixels, before EXIF orientation."""

    format: str
    mode: str
    width: int
    height: int


def decode(path: Path, name: str = "", size: int = 0, how: Fit = "crop") -> Tensor | BadImage:
    """The image in a file.

    Args:
        name: of the file in a ``BadImage``; its path if empty.
        size: side in pixels to ``fit`` the image to; 0 keeps its size.

    Returns:
        (3, H, W) uint8, or (3, size, size).
    """
    return _read(path, name, lambda image: _decode_image(image, size, how))


def decode_bytes(data: bytes, name: str, size: int = 0, how: Fit = "crop") -> Tensor | BadImage:
    """As ``decode``, for the bytes of a file."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with _identified(io.BytesIO(data)) as image:
            return _decode_image(image, size, how)
    except Exception as error:  # as in _read
        return BadImage(name, _reason(error))


def read_header(path: Path, name: str = "") -> Header | BadImage:
    """Format, mode and size of a file, without decoding it; truncated pixel data is not noticed."""
    return _read(path, name, _header)


def fit(
    image: Image.Image, size: int, how: Fit = "crop", extent: tuple[float, float] | None = None
) -> Image.Image:
    """A square of ``size`` pixels from an image, antialiased.

    Args:
        how: "crop" keeps the central square, "squash" ignores the aspect ratio, "pad" adds black borders.
        extent: width and height that the image covers from its upper left corner; all of it if absent.
    """
    width, height = extent or image.size
    full = (0.0, 0.0, width, height)
    if how == "squash":
        return image.resize((size, size), Image.Resampling.BILINEAR, full)
    if how == "crop":
        # Cropped before resizing: the same image, and a strip of 1 x 10,000 pixels stays small.
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        return image.resize((size, size), Image.Resampling.BILINEAR, box)
    scale = size / max(width, height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.new("RGB", (size, size))
    offset = ((size - inner[0]) // 2, (size - inner[1]) // 2)
    canvas.paste(image.resize(inner, Image.Resampling.BILINEAR, full), offset)
    return canvas


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode to RGB: transparency over white, 16 bits divided by 257, other numbers by range.

    >>> to_rgb(Image.new("L", (2, 2), 255)).getpixel((0, 0))
    (255, 255, 255)
    """
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_to_bytes(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image.convert("RGB")


def ignore_metadata_warnings() -> None:
    """Ignore Pillow's warnings of broken metadata; once, on import, as filters are not per thread."""
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def printable(text: str) -> str:
    """A file name as valid UTF-8, with other bytes as ``\\xff``."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def _to_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey values of more than 8 bits as uint8.

    Whole numbers up to 65535 are 16-bit, floats in [0, 1] a fraction of white and in [0, 255] as they
    are; anything else is stretched from its smallest to its largest value.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise _Unusable("holds no finite number")
    low, high = float(finite.min()), float(finite.max())
    whole = np.issubdtype(values.dtype, np.integer)
    if low >= 0 and high <= 65535 and (whole or high <= 255):
        low, high = 0.0, 65535.0 if whole else (1.0 if high <= 1 else 255.0)
    clean = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    scaled = (clean - low) * (255 / max(high - low, 1e-12))
    return scaled.round().clip(0, 255).astype(np.uint8)


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _read(path: Path, name: str, work: Callable[[ImageFile.ImageFile], T]) -> T | BadImage:
    try:
        with _opened(path) as image:
            return work(image)
    except Exception as error:  # Pillow's plugins raise almost any exception on a damaged file
        return BadImage(name or str(path), _reason(error))


def _decode_image(image: ImageFile.ImageFile, size: int, how: Fit) -> Tensor:
    extent = _reduce_scale(image, size)
    image.load()
    orientation = _orientation(image)
    rgb = to_rgb(image)
    if size:  # before the transposition, which is then faster
        rgb = fit(rgb, size, how, extent)
    return _tensor(rgb if orientation is None else rgb.transpose(orientation))


def _orientation(image: ImageFile.ImageFile) -> Image.Transpose | None:
    """The transposition of EXIF orientation."""
    # Unreadable metadata does not make an image bad.
    with contextlib.suppress(Exception):
        return _ORIENTATIONS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return None


def _header(image: ImageFile.ImageFile) -> Header:
    header = Header(image.format or "", image.mode, *image.size)
    _reduce_scale(image)
    return header


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, _Unusable):
        return text
    if isinstance(error, PermissionError):
        return "no permission to read it"
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
        target = f"points to {os.readlink(path)!r}, which" if path.is_symlink() else "the file"
        raise _Unusable(f"{printable(target)} does not exist") from None
    if stat.S_ISDIR(status.st_mode):
        raise _Unusable("is a folder, not an image")
    if not stat.S_ISREG(status.st_mode):
        raise _Unusable("is not a regular file")
    if not status.st_size:
        raise _Unusable("is empty (0 bytes)")


def _identified(file: BinaryIO) -> ImageFile.ImageFile:
    """The image in an open file, by its first bytes.

    ``Image.open`` would do the same, but it warns of or refuses large images before a JPEG can be asked
    to decode at a reduced scale, and its limit is shared by the whole process.
    """
    start = file.read(16)
    if start[4:12] in (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1", b"ftypmsf1"):
        raise _Unusable("is a HEIC image, which Pillow cannot read; convert it to JPEG or PNG")
    factory = next((Image.OPEN[f][0] for f in FORMATS if _accepts(f, start)), None)
    if factory is None:
        raise _Unusable("is not an image, whatever its name says")
    file.seek(0)
    return factory(file, "")


def is_image(start: bytes) -> bool:
    """Whether the first 16 bytes of a file are those of a format that can be read."""
    return any(_accepts(f, start) for f in FORMATS)


def _accepts(name: str, start: bytes) -> bool:
    _, accept = Image.OPEN.get(name, (None, None))
    # A plugin whose library is missing answers with a sentence instead of a yes.
    return accept is not None and accept(start) in (True, 1)


def _reduce_scale(image: ImageFile.ImageFile, size: int = 0) -> tuple[float, float]:
    """Set a JPEG to decode at a reduced scale: at least twice ``size``, and at most ``MAX_PIXELS``.

    The decoder then averages in the cosine domain, instead of ``fit``. From twice the size on the difference
    is small: ``benchmarks/decode.py`` measures it, docs/decoding.md has the table.

    Returns:
        Width and height of the image in decoded pixels; the last ones may cover less than others.
    """
    width, height = image.size
    spare = min(width, height) // (2 * size) if size else 1
    needed = math.sqrt(width * height / MAX_PIXELS)
    scale = next(s for s in _JPEG_SCALES if s <= max(spare, 1))
    scale = max(scale, next((s for s in reversed(_JPEG_SCALES) if s >= needed), _JPEG_SCALES[0]))
    extent: tuple[float, float] = image.size
    if image.format in ("JPEG", "MPO") and scale > 1:
        reduced = image.draft(None, (max(width // scale, 1), max(height // scale, 1)))
        extent = reduced[1][2:] if reduced else extent
    if image.size[0] * image.size[1] > MAX_PIXELS:
        raise _Unusable(f"has {width * height:,} pixels, more than the limit of {MAX_PIXELS:,}")
    return extent


Image.init()
ignore_metadata_warnings()
