"""Black and white of images with more than 8 bits per channel, decided once for a folder.

Such a file does not say which of its numbers is white: 12 bits are stored in 16, floats have any unit.
Decided image by image, differences of brightness between images would be lost, so the smallest and largest
numbers of many files decide it together. TIFF's tags for the two are statistics, not to be used for display.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from equissl.data.files.memory import STRIP_PIXELS

Kind = Literal["integer", "float"]
Range = tuple[float, float]  # black and white

_BITS = (8, 10, 12, 14, 16)
_OVERSHOOT = 0.1  # of the width of a nominal range, by which half of the float images may exceed it


class UnusableImageError(Exception):
    """A file cannot be used; the message says what it is (``BadImage.reason``)."""


@dataclass(frozen=True)
class IntensityRange:
    """Black and white of the images of a folder with more than 8 bits per channel.

    Args:
        integers: of images of whole numbers; ``None`` where no file decided it.
        floats: of images of floating-point numbers; ``None`` likewise.
    """

    integers: Range | None = None
    floats: Range | None = None

    def of(self, kind: Kind) -> Range:
        """Raises UnusableImageError if there is none for ``kind``."""
        found = self.integers if kind == "integer" else self.floats
        if found is None:
            raise UnusableImageError(
                f"of {kind} values with more than 8 bits, unlike the files that the intensity range was "
                f"decided from; set data.{kind}_range to its black and white"
            )
        return found


@dataclass(frozen=True)
class Extremes:
    """Smallest and largest number of an image."""

    kind: Kind
    low: float
    high: float


def kind_of(mode: str) -> Kind | None:
    """What the pixels of a Pillow mode are, if they have more than 8 bits; such images are grey."""
    if mode.startswith("F"):
        return "float"
    return "integer" if mode.startswith("I") else None


def extremes(image: Image.Image) -> Extremes:
    """Smallest and largest number of a decoded image.

    Raises:
        UnusableImageError: it holds NaN or infinite values.
    """
    parts = [(float(v.min()), float(v.max())) for v in _strips(image)]
    return Extremes(_kind(image), min(low for low, _ in parts), max(high for _, high in parts))


def decide(found: Sequence[Extremes]) -> IntensityRange:
    """Black and white for images with these extremes.

    Whole numbers from 0 up: all of 8, 10, 12, 14 or 16 bits, the fewest that hold them. Floats: [0, 1] or
    [0, 255] if the median image keeps to it, give or take a tenth. Others: from the smallest to the largest.

    >>> decide([Extremes("integer", 3, 3900), Extremes("integer", 0, 1800)]).integers
    (0.0, 4095.0)
    >>> decide([Extremes("float", 0.0, 1.01)]).floats
    (0.0, 1.0)
    """
    whole = [e for e in found if e.kind == "integer"]
    real = [e for e in found if e.kind == "float"]
    return IntensityRange(_of_integers(whole) if whole else None, _of_floats(real) if real else None)


def to_bytes(image: Image.Image, intensity: IntensityRange) -> NDArray[np.uint8]:
    """Grey levels (H, W) as uint8, clipped to their range.

    Raises:
        UnusableImageError: NaN or infinite values, or a kind without a range.
    """
    low, high = intensity.of(_kind(image))
    values = _values(image).astype(np.float64)
    scaled = (values - low) * (255 / max(high - low, 1e-12))
    return scaled.round().clip(0, 255).astype(np.uint8)


def _of_integers(found: Sequence[Extremes]) -> Range:
    low, high = min(e.low for e in found), max(e.high for e in found)
    if low < 0 or high >= 2 ** _BITS[-1]:
        return low, high
    return 0.0, float(next(2**bits - 1 for bits in _BITS if high < 2**bits))


def _of_floats(found: Sequence[Extremes]) -> Range:
    low, high = statistics.median(e.low for e in found), statistics.median(e.high for e in found)
    for white, least in ((1.0, 0.0), (255.0, 127.5)):
        margin = _OVERSHOOT * white
        if low >= -margin and least <= high <= white + margin:
            return 0.0, white
    return min(e.low for e in found), max(e.high for e in found)


def _kind(image: Image.Image) -> Kind:
    return kind_of(image.mode) or "integer"


def _strips(image: Image.Image) -> Iterator[NDArray[Any]]:
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield _values(image.crop((0, top, image.width, min(top + rows, image.height))))


def _values(image: Image.Image) -> NDArray[Any]:
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise UnusableImageError("not finite: it holds NaN or infinite values; replace them")
    return values
