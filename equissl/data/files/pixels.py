"""From decoded pixels to an upright RGB square.

Pixels are turned upright and converted strip by strip, so that a large image is held twice at most: as it is
stored, and with 8 bits per channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PIL import Image

from equissl.data.files.depth import IntensityRange, kind_of, to_bytes
from equissl.data.files.memory import STRIP_PIXELS

Fit = Literal["crop", "squash", "pad"]
Box = tuple[float, float, float, float]  # left, top, right, bottom

_FILTER = Image.Resampling.BILINEAR


@dataclass(frozen=True)
class Orientation:
    """A value of EXIF orientation: how stored pixels become upright.

    Args:
        transposition: of the stored image.
        swaps: whether it exchanges the axes.
        flips: whether it reverses the stored x axis, and the stored y axis.
    """

    transposition: Image.Transpose
    swaps: bool
    flips: tuple[bool, bool]

    def upright(self, box: Box, stored: tuple[float, float]) -> Box:
        """A box of an image of the size ``stored``, as a box of the upright image."""
        flipped = self._flip(box, stored)
        return _swap(flipped) if self.swaps else flipped

    def stored(self, box: Box, stored: tuple[float, float]) -> Box:
        """The inverse of ``upright``."""
        return self._flip(_swap(box) if self.swaps else box, stored)

    def _flip(self, box: Box, size: tuple[float, float]) -> Box:
        left, top, right, bottom = box
        if self.flips[0]:
            left, right = size[0] - right, size[0] - left
        if self.flips[1]:
            top, bottom = size[1] - bottom, size[1] - top
        return left, top, right, bottom


ORIENTATIONS = {
    2: Orientation(Image.Transpose.FLIP_LEFT_RIGHT, False, (True, False)),
    3: Orientation(Image.Transpose.ROTATE_180, False, (True, True)),
    4: Orientation(Image.Transpose.FLIP_TOP_BOTTOM, False, (False, True)),
    5: Orientation(Image.Transpose.TRANSPOSE, True, (False, False)),
    6: Orientation(Image.Transpose.ROTATE_270, True, (False, True)),
    7: Orientation(Image.Transpose.TRANSVERSE, True, (True, True)),
    8: Orientation(Image.Transpose.ROTATE_90, True, (True, False)),
}


@dataclass(frozen=True)
class Upright:
    """A decoded image as upright pixels of 8 bits per channel.

    Args:
        image: in the mode and orientation that it is stored in.
        orientation: ``None`` if that is upright.
        intensity: black and white of an image with more than 8 bits per channel.
    """

    image: Image.Image
    orientation: Orientation | None = None
    intensity: IntensityRange = IntensityRange()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        width, height = self.image.size
        return (height, width) if self.orientation and self.orientation.swaps else (width, height)

    def pixels(self) -> Image.Image:
        """All pixels, of mode L or RGB."""
        width, height = self.size
        rows = max(1, STRIP_PIXELS // width)
        if rows >= height or (self.orientation is None and _is_plain(self.image)):
            return self._strip(0, height)
        strips = (self._strip(top, min(top + rows, height)) for top in range(0, height, rows))
        first = next(strips)
        whole = Image.new(first.mode, self.size)
        whole.paste(first)
        for number, strip in enumerate(strips, 1):
            whole.paste(strip, (0, number * rows))
        return whole

    def _strip(self, top: int, bottom: int) -> Image.Image:
        box: Box = (0, top, self.size[0], bottom)
        stored = self.orientation.stored(box, self.image.size) if self.orientation else box
        part = self.image if stored == (0, 0, *self.image.size) else self.image.crop(stored)
        turned = part.transpose(self.orientation.transposition) if self.orientation else part
        return to_8_bits(turned, self.intensity)


def fit(image: Upright, size: int, how: Fit = "crop", covered: Box | None = None) -> Image.Image:
    """A square of ``size`` pixels from an image, antialiased.

    Args:
        how: "crop" keeps the central square, "squash" ignores the aspect ratio, "pad" adds black borders.
        covered: the part of the upright pixels that the image covers; all if absent.
    """
    left, top, right, bottom = covered or (0.0, 0.0, *image.size)
    width, height = right - left, bottom - top
    pixels = image.pixels()
    if how == "squash":
        return pixels.resize((size, size), _FILTER, (left, top, right, bottom)).convert("RGB")
    if how == "crop":
        # Cropped before resizing: the same image, and a strip of 1 x 10,000 pixels stays small.
        side = min(width, height)
        left, top = left + (width - side) / 2, top + (height - side) / 2
        return pixels.resize((size, size), _FILTER, (left, top, left + side, top + side)).convert("RGB")
    scale = size / max(width, height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.new("RGB", (size, size))
    offset = ((size - inner[0]) // 2, (size - inner[1]) // 2)
    canvas.paste(pixels.resize(inner, _FILTER, (left, top, right, bottom)), offset)
    return canvas


def to_8_bits(image: Image.Image, intensity: IntensityRange = IntensityRange()) -> Image.Image:
    """Any Pillow mode to L or RGB: transparency over white, more than 8 bits by their intensity range.

    >>> to_8_bits(Image.new("RGBA", (2, 2), (0, 0, 0, 0))).getpixel((0, 0))
    (255, 255, 255)
    """
    if _is_plain(image):
        return image
    if kind_of(image.mode):
        return Image.fromarray(to_bytes(image, intensity))
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def _is_plain(image: Image.Image) -> bool:
    return image.mode in ("L", "RGB") and not image.has_transparency_data


def _swap(box: Box) -> Box:
    return box[1], box[0], box[3], box[2]
