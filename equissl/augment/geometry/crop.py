"""Random resized crop and its deterministic counterpart, antialiased as in torchvision."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.augment.base import (
    REFERENCE_SIZE,
    Augmentation,
    Moments,
    NativeStep,
    moments_of,
    reference_stream,
)
from equissl.augment.batched import separable, total
from equissl.augment.validation import (
    check_at_least,
    check_choice,
    check_number,
    check_range,
    check_whole,
    flag,
)
from equissl.params import Params, Real, Space
from equissl.random import Stream

Interpolation = Literal["bilinear", "bicubic"]
_NAMES = ("crop_top", "crop_left", "crop_height", "crop_width")
_REST = (0.0, 0.0, 1.0, 1.0)
_CANDIDATES = 10
_SNAP = 1e-3  # pixels
_SLACK = 1e-5  # of a side; fractions in float32 do not add up exactly


@dataclass(frozen=True)
class Crop(Augmentation):
    """Cut out a random box and resize it to a square, antialiased (torchvision's RandomResizedCrop).

    Boxes are whole pixels of the source when drawn and recorded as fractions of it, so a record means the
    same at any resolution; a box between two others need not be whole. What lies outside the box never
    shows. Bicubic results may leave [0, 1] a little. Source: Szegedy et al., arXiv:1409.4842, section 6.

    Args:
        size: side of the result in pixels.
        area: range of the box's share of the source, within (0, 1].
        ratio: range of width / height, drawn uniformly in its logarithm.
        probability: of cropping; otherwise the whole image is resized.

    Raises:
        ValueError: a field is out of its range.
    """

    paper: ClassVar[str] = "arXiv:1409.4842"
    bibtex: ClassVar[str] = r"""
    @inproceedings{inception2015,
      title = {{Going Deeper with Convolutions}},
      author = {Szegedy, Christian and Liu, Wei and Jia, Yangqing and Sermanet, Pierre and Reed, Scott and
        Anguelov, Dragomir and Erhan, Dumitru and Vanhoucke, Vincent and Rabinovich, Andrew},
      booktitle = {Conference on Computer Vision and Pattern Recognition},
      year = {2015},
      eprint = {1409.4842},
      archivePrefix = {arXiv},
    }
    """
    stream_name: ClassVar[str] = "Crop"

    size: int
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: Interpolation = "bilinear"
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_whole("Crop.size", self.size)
        check_at_least("Crop.size", self.size, 1)
        check_range("Crop.area", self.area, 0, 1, above=True)
        check_range("Crop.ratio", self.ratio, 0, above=True)
        check_choice("Crop.interpolation", self.interpolation, tuple(_FILTERS))
        check_number("Crop.probability", self.probability)

    @property
    def space(self) -> Space:
        moments = _crop_moments(self)
        factors = []
        for name, rest in zip(_NAMES, _REST, strict=True):
            first, second = moments[name]
            square = float(second - 2 * rest * first + rest**2)
            # Rounded, so that machines whose sums differ in the last bit agree on the space.
            scale = round(math.sqrt(square), 4) if square > 1e-8 else 1.0
            factors.append(Real(name, rest=rest, scale=scale, unit="fraction"))
        return Space(tuple(factors))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        units = stream.units(area=_CANDIDATES, ratio=_CANDIDATES, top=1, left=1, applied=1)
        boxes = dict(zip(_NAMES, _boxes(self, units, size), strict=True))
        return Params.of(self.space, boxes, units["applied"][:, 0] < self.probability)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """
        Raises:
            ValueError: a box does not lie within the image (looked at on a CPU only).
        """
        _check_boxes(params)
        top, left, height, width = (params.values[n].to(images.dtype) for n in _NAMES)
        rows = _taps(top, height, images.shape[2], self.size, self.interpolation)
        columns = _taps(left, width, images.shape[3], self.size, self.interpolation)
        return separable(images, rows, columns)

    def native(self, params: Params) -> NativeStep:
        _check_boxes(params)
        box = torch.cat([params.values[n] for n in _NAMES], 1)
        cubic = int(self.interpolation == "bicubic")
        return NativeStep("crop", box, (self.size, cubic), size=(self.size, self.size), reach=1 + cubic)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return (self.size, self.size)

    def moments(self) -> Moments:
        """By simulation: the number of pixels of the source has a small influence on the boxes."""
        return dict(_crop_moments(self))

    @classmethod
    def example(cls) -> Crop:
        return cls(size=24)


@dataclass(frozen=True)
class Resize(Augmentation):
    """Resize the short side, antialiased, and cut out the centre (the usual evaluation transform).

    Args:
        size: side of the result in pixels.
        short_side: what the short side becomes before the cut, ``size`` if 0.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Resize"

    size: int
    short_side: int = 0
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        check_whole("Resize.size", self.size)
        check_at_least("Resize.size", self.size, 1)
        check_choice("Resize.interpolation", self.interpolation, tuple(_FILTERS))
        if self.short_side:
            check_at_least("Resize.short_side", self.short_side, self.size)

    @property
    def space(self) -> Space:
        return Space()

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        return Params.of(Space(), {}, count=len(stream))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        height, width = images.shape[2:]
        short = self.short_side or self.size
        # In this order, as torchvision rounds down the long side after the multiplication.
        tall, wide = (int(short * n / min(height, width)) for n in (height, width))
        if (tall, wide) != (height, width):
            images = F.interpolate(images, (tall, wide), mode=self.interpolation, antialias=True)
        top, left = round((tall - self.size) / 2), round((wide - self.size) / 2)
        return images[:, :, top : top + self.size, left : left + self.size]

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return (self.size, self.size)

    def moments(self) -> Moments:
        return {}

    @classmethod
    def example(cls) -> Resize:
        return cls(size=16, short_side=20)


@lru_cache
def _crop_moments(crop: Crop) -> Moments:
    stream = reference_stream()
    applied = stream.chance("applied", crop.probability)[:, None]
    moments: Moments = {}
    units = stream.units(area=_CANDIDATES, ratio=_CANDIDATES, top=1, left=1)
    for name, rest, drawn in zip(_NAMES, _REST, _boxes(crop, units, REFERENCE_SIZE), strict=True):
        moments |= moments_of({name: torch.where(applied, drawn, rest)}) | flag(name, crop.probability)
    return moments


def _check_boxes(params: Params) -> None:
    top, left, height, width = (params.values[n] for n in _NAMES)
    if top.device.type != "cpu" or torch.compiler.is_compiling():
        return
    for start, length in ((top, height), (left, width)):
        inside = (start >= -_SLACK) & (length > 0) & (start + length <= 1 + _SLACK)
        if not inside.all():
            k = int((~inside[:, 0]).nonzero()[0, 0])
            box = [round(float(v[k]), 4) for v in (top, left, height, width)]
            raise ValueError(
                f"the crop of image {k} (top, left, height, width = {box}) does not lie within the image"
            )


def _boxes(crop: Crop, units: dict[str, Tensor], size: tuple[int, int]) -> list[Tensor]:
    """Top, left, height, width: whole pixels, as fractions of the source, (B, 1) each."""
    tall, wide = size
    smallest, largest = crop.area
    area = tall * wide * (smallest + (largest - smallest) * units["area"])
    low, high = (math.log(r) for r in crop.ratio)
    aspect = (low + (high - low) * units["ratio"]).exp()
    width, height = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    valid = (width > 0) & (width <= wide) & (height > 0) & (height <= tall)
    first = valid.to(torch.uint8).argmax(1, keepdim=True)  # the first maximum
    height, width = height.gather(1, first), width.gather(1, first)
    top = (units["top"] * (tall - height + 1)).floor().minimum(tall - height)
    left = (units["left"] * (wide - width + 1)).floor().minimum(wide - width)
    found = valid.any(1, keepdim=True)
    sides = zip((top, left, height, width), _centre_box(crop, size), (tall, wide, tall, wide), strict=True)
    return [torch.where(found, drawn, centred) / pixels for drawn, centred, pixels in sides]


def _centre_box(crop: Crop, size: tuple[int, int]) -> tuple[int, int, int, int]:
    # torchvision's answer where no candidate fits: the largest centred box of an allowed ratio.
    height, width = size
    if width < min(crop.ratio) * height:
        height = round(width / min(crop.ratio))
    elif width > max(crop.ratio) * height:
        width = round(height * max(crop.ratio))
    return (size[0] - height) // 2, (size[1] - width) // 2, height, width


def _taps(start: Tensor, length: Tensor, pixels: int, size: int, name: str) -> tuple[Tensor, Tensor]:
    """Which pixels make each of ``size`` results along one side, and their weights: (B, size, K) each.

    A pixel that the box covers in part counts by that part, so the result is continuous in the box.

    Args:
        start, length: of the box as fractions, (B, 1).
        pixels: of the source.
    """
    kernel, reach = _FILTERS[name]
    start, length = _snapped(start * pixels)[..., None], _snapped(length * pixels)[..., None]
    scale = length / size
    stretch = scale.clamp(min=1)  # shrinking widens the filter: antialiasing
    place = torch.arange(size, device=start.device, dtype=start.dtype)[:, None] + 0.5
    centre = scale * place  # counted from the box, as torchvision does, for equal rounding
    count = math.ceil(2 * reach * max(1.0, pixels / size))
    first = (start + centre - reach * stretch + 0.5).floor()
    pixel = first + torch.arange(count, device=start.device, dtype=start.dtype)
    covered = torch.minimum(pixel + 1, start + length) - torch.maximum(pixel, start)
    weight = kernel((pixel - start - centre + 0.5) / stretch) * covered.clamp(0, 1)
    return pixel.clamp(0, pixels - 1).long(), weight / total(weight)[..., None]


def _snapped(value: Tensor) -> Tensor:
    # Fractions of a few hundred pixels in float32 come back a little off the whole pixel they stand for.
    whole = value.round()
    return torch.where((value - whole).abs() < _SNAP, whole, value)


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp(min=0)


def _cubic(distance: Tensor) -> Tensor:
    # Keys, IEEE TASSP 29 (1981), with a = -0.5, which torchvision uses when antialiasing.
    d = distance.abs()
    near = (1.5 * d - 2.5) * d * d + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return torch.where(d < 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


# Name -> the filter and how many pixels it reaches to either side.
_FILTERS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "bilinear": (_triangle, 1),
    "bicubic": (_cubic, 2),
}
