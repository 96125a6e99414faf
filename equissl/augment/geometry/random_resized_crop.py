"""Random resized crop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation, NativeStep
from equissl.augment.batched import separable_filter
from equissl.augment.geometry.resample import Interpolation, resample_weights
from equissl.augment.moments import (
    REFERENCE_SIZE,
    Moments,
    applied_moments,
    empirical_moments,
    reference_stream,
)
from equissl.augment.validation import MAX_SIDE, check_at_least, check_between, check_range
from equissl.params import Params, Real, Space
from equissl.random import Stream

_NEUTRAL = {"crop_top": 0.0, "crop_left": 0.0, "crop_height": 1.0, "crop_width": 1.0}
_NUM_CANDIDATES = 10
_TOLERANCE = 1e-5  # of a side; fractions in float32 do not add up exactly


@dataclass(frozen=True)
class RandomResizedCrop(Augmentation):
    """Crop a random box and resize it to a square, antialiased (Szegedy et al., arXiv:1409.4842, section 6).

    Boxes are sampled in whole pixels, as in torchvision, and recorded as fractions of the source, so a record
    means the same at any resolution; an interpolated box need not be whole. Pixels outside the box never
    contribute. Bicubic results may leave [0, 1] slightly.

    >>> import torch
    >>> from equissl import augment
    >>> (view,), record = augment.views(torch.rand(2, 3, 40, 40), augment.RandomResizedCrop(32), count=1)
    >>> view.shape
    torch.Size([2, 3, 32, 32])
    >>> record.params["a"].space.names
    ('crop_top', 'crop_left', 'crop_height', 'crop_width')

    Args:
        size: side of the result in pixels.
        scale: range of the box's area as a fraction of the source's, within (0, 1].
        ratio: range of width / height, log-uniform.
        p: probability of cropping; otherwise the whole image is resized.

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
    geometric: ClassVar[bool | None] = True

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: Interpolation = "bilinear"
    p: float = 1.0

    def __post_init__(self) -> None:
        check_at_least("RandomResizedCrop.size", self.size, 1, MAX_SIDE)
        check_range("RandomResizedCrop.scale", self.scale, 0, 1, exclusive=True)
        check_range("RandomResizedCrop.ratio", self.ratio, 0, exclusive=True)
        check_between("RandomResizedCrop.p", self.p)

    @property
    def space(self) -> Space:
        return _crop_space(self)

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        units = stream.units(area=_NUM_CANDIDATES, ratio=_NUM_CANDIDATES, top=1, left=1, applied=1)
        boxes = dict(zip(_NEUTRAL, _sample_boxes(self, units, size), strict=True))
        return Params.of(self.space, boxes, units["applied"][:, 0] < self.p)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """
        Raises:
            ValueError: a box does not lie within the image (checked on a CPU only).
        """
        _check_boxes(params)
        top, left, height, width = (params.values[n].to(images.dtype) for n in _NEUTRAL)
        rows = resample_weights(top, height, images.shape[2], self.size, self.interpolation)
        columns = resample_weights(left, width, images.shape[3], self.size, self.interpolation)
        return separable_filter(images, rows, columns)

    def native(self, params: Params) -> NativeStep:
        _check_boxes(params)
        box = torch.cat([params.values[n] for n in _NEUTRAL], 1)
        cubic = int(self.interpolation == "bicubic")
        return NativeStep(
            "crop", box, (self.size, cubic), size=(self.size, self.size), filter_radius=1 + cubic
        )

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return (self.size, self.size)

    def moments(self) -> Moments:
        """By simulation: the size of the source has a small influence on the boxes."""
        return dict(_crop_moments(self))

    def moments_at(self, size: tuple[int, int]) -> Moments:
        """As ``moments``, on sources of ``size`` (H, W): boxes are whole pixels of it."""
        return dict(_crop_moments(self, size))

    @classmethod
    def example(cls) -> RandomResizedCrop:
        return cls(size=24)


@lru_cache
def _crop_moments(crop: RandomResizedCrop, size: tuple[int, int] = REFERENCE_SIZE) -> Moments:
    stream = reference_stream()
    applied = stream.chance("applied", crop.p)[:, None]
    moments: Moments = {}
    units = stream.units(area=_NUM_CANDIDATES, ratio=_NUM_CANDIDATES, top=1, left=1)
    boxes = dict(zip(_NEUTRAL, _sample_boxes(crop, units, size), strict=True))
    for name, neutral in _NEUTRAL.items():
        moments |= empirical_moments({name: torch.where(applied, boxes[name], neutral)}) | applied_moments(
            name, crop.p
        )
    return moments


@lru_cache
def _crop_space(crop: RandomResizedCrop) -> Space:
    moments = _crop_moments(crop)
    factors = []
    for name, neutral in _NEUTRAL.items():
        first, second = moments[name]
        square = float(second - 2 * neutral * first + neutral**2)
        # Rounded, so that machines whose sums differ in the last bit agree on the space.
        scale = round(math.sqrt(square), 4) if square > 1e-8 else 1.0
        factors.append(Real(name, neutral_value=neutral, scale=scale, unit="fraction"))
    return Space(tuple(factors))


def _check_boxes(params: Params) -> None:
    top, left, height, width = (params.values[n] for n in _NEUTRAL)
    if top.device.type != "cpu" or torch.compiler.is_compiling():
        return
    for start, length in ((top, height), (left, width)):
        inside = (start >= -_TOLERANCE) & (length > 0) & (start + length <= 1 + _TOLERANCE)
        if not inside.all():
            k = int((~inside[:, 0]).nonzero()[0, 0])
            box = [round(float(v[k]), 4) for v in (top, left, height, width)]
            raise ValueError(
                f"the crop of image {k} (top, left, height, width = {box}) does not lie within the image"
            )


def _sample_boxes(crop: RandomResizedCrop, units: dict[str, Tensor], size: tuple[int, int]) -> list[Tensor]:
    """Top, left, height, width: whole pixels, as fractions of the source, (B, 1) each."""
    tall, wide = size
    smallest, largest = crop.scale
    area = tall * wide * (smallest + (largest - smallest) * units["area"])
    low, high = (math.log(r) for r in crop.ratio)
    aspect = (low + (high - low) * units["ratio"]).exp()
    width, height = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    valid = (width > 0) & (width <= wide) & (height > 0) & (height <= tall)
    first = valid.to(torch.uint8).argmax(1, keepdim=True)  # the first maximum
    height, width = height.gather(1, first), width.gather(1, first)
    top = (units["top"] * (tall - height + 1)).floor().minimum(tall - height)
    left = (units["left"] * (wide - width + 1)).floor().minimum(wide - width)
    any_valid = valid.any(1, keepdim=True)
    sides = zip((top, left, height, width), _center_box(crop, size), (tall, wide, tall, wide), strict=True)
    return [torch.where(any_valid, value, fallback) / pixels for value, fallback, pixels in sides]


def _center_box(crop: RandomResizedCrop, size: tuple[int, int]) -> tuple[int, int, int, int]:
    # torchvision's fallback where no candidate fits: the largest centered box of an allowed ratio.
    height, width = size
    if width < min(crop.ratio) * height:
        height = max(1, round(width / min(crop.ratio)))
    elif width > max(crop.ratio) * height:
        width = max(1, round(height * max(crop.ratio)))
    return (size[0] - height) // 2, (size[1] - width) // 2, height, width
