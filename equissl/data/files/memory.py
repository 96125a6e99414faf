"""Memory of images while they are decoded: an estimate from the header, and a budget over all threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import ExifTags, Image, ImageFile

STRIP_PIXELS = 1 << 18  # converted at once
_STRIP_BYTES = 48  # per pixel of a strip: as stored, as RGB, and its numbers in float64 with their copies
# Bytes per pixel that a decoder needs beside the image itself, at most; a test measures them.
_DECODER_BYTES = {"WEBP": 12, "AVIF": 12, "JPEG2000": 16, "PPM": 4}
_ANIMATED_WEBP_BYTES = 24
_TILE_WIDTH, _TILE_LENGTH, _ROWS_PER_STRIP, _BITS_PER_SAMPLE = 322, 323, 278, 258  # tags of a TIFF file


class MemoryBudget:
    """Bytes shared by threads: each reserves what it needs, and waits while the others hold too much."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reserved = 0

    @contextmanager
    def reserve(self, count: int, limit: int) -> Iterator[None]:
        """``count`` bytes; waits until they fit into ``limit`` beside those of others, or until alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._reserved or self._reserved + count <= limit)
            self._reserved += count
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= count
                self._changed.notify_all()


def decoding_bytes(image: ImageFile.ImageFile, size: int = 0, scale: int = 1) -> int:
    """Peak memory in bytes of decoding an image and making it a square of ``size`` pixels, by its header.

    Args:
        size: 0 keeps the size of the image.
        scale: by which a JPEG decoder divides both sides.
    """
    width, height = (-(-side // scale) for side in image.size)
    pixels = width * height
    grey = image.mode in ("1", "L") or image.mode.startswith(("I", "F"))
    needed = (_stored_bytes(image) + (1 if grey else 4)) * pixels + _decoder_bytes(image, pixels)
    if not size:
        return needed + 10 * pixels  # as RGB, as an array, and as a tensor
    return needed + _STRIP_BYTES * min(pixels, STRIP_PIXELS) + 4 * size * max(width, height)


def _stored_bytes(image: Image.Image) -> int:
    """Bytes per pixel of an image in Pillow's memory."""
    if image.mode in ("1", "L", "P"):
        return 1
    return 2 if image.mode.startswith("I;16") else 4


def _decoder_bytes(image: ImageFile.ImageFile, pixels: int) -> int:
    if image.format in ("JPEG", "MPO"):
        # A progressive JPEG is held as 16-bit coefficients of its full size, whatever the scale.
        full = image.size[0] * image.size[1]
        return 2 * len(image.getbands()) * full if image.info.get("progressive") else 0
    if image.format == "TIFF":
        return _tiff_bytes(image, pixels)
    if image.format == "WEBP" and getattr(image, "is_animated", False):
        return _ANIMATED_WEBP_BYTES * pixels
    return _DECODER_BYTES.get(image.format or "", 1) * pixels


def _tiff_bytes(image: ImageFile.ImageFile, pixels: int) -> int:
    """Of the largest strip or tile, which is decoded as a whole, and of the copy that turns the image."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    width, rows = image.size[0], min(image.size[1], tags.get(_ROWS_PER_STRIP, image.size[1]))
    if _TILE_WIDTH in tags:
        width, rows = tags[_TILE_WIDTH], tags.get(_TILE_LENGTH, rows)
    block = width * rows * max(sum(tags.get(_BITS_PER_SAMPLE, (8,))), 8) // 8
    turned = tags.get(ExifTags.Base.Orientation, 1) != 1
    return int(block) + (_stored_bytes(image) * pixels if turned else 0)
