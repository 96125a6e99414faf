"""Random solarization, with one threshold for all images or one per image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import Augmentation, NativeStep
from equissl.augment.batched import apply_where, per_image
from equissl.augment.binary import BinaryAugmentation
from equissl.augment.moments import Moments, rms_scale, uniform_moments
from equissl.augment.validation import check_between, check_range
from equissl.params import Params, Real, Space
from equissl.random import Stream


@dataclass(frozen=True)
class Solarize(BinaryAugmentation):
    """Invert values at or above a fixed threshold (torchvision's RandomSolarize; arXiv:2006.07733, B).

    Raises:
        ValueError: ``threshold`` or ``p`` is outside [0, 1].
    """

    paper: ClassVar[str] = "arXiv:2006.07733"
    stream_name: ClassVar[str] = "Solarize"
    factor: ClassVar[str] = "solarize"

    threshold: float = 128 / 255
    p: float = 0.2

    def __post_init__(self) -> None:
        check_between("Solarize.threshold", self.threshold)
        super().__post_init__()

    def transform(self, images: Tensor) -> Tensor:
        # torch rounds the threshold to the images' precision, so a gray level that equals it is inverted.
        return images.lerp(1 - images, (images >= self.threshold).to(images.dtype))

    def native(self, params: Params) -> NativeStep:
        return NativeStep("solarize", params.values["solarize"], floats=(self.threshold,))


@dataclass(frozen=True)
class SolarizeThreshold(Augmentation):
    """Invert what is at least as bright as a drawn threshold, where ``Solarize`` has one for all images.

    A threshold of 1 is "not solarized": unlike torchvision's, it does not turn white into black.

    Args:
        threshold: its range, within [0, 1].

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "SolarizeThreshold"

    threshold: tuple[float, float] = (0.0, 1.0)
    p: float = 0.5

    def __post_init__(self) -> None:
        check_range("SolarizeThreshold.threshold", self.threshold, 0, 1)
        check_between("SolarizeThreshold.p", self.p)

    @property
    def space(self) -> Space:
        scale = rms_scale(self.threshold, self.p, neutral_value=1.0)
        return Space((Real("solarize_threshold", unit="brightness", neutral_value=1.0, scale=scale),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        threshold = stream.uniform("threshold", 1, *self.threshold)
        applied = stream.chance("applied", self.p)
        return Params.of(self.space, {"solarize_threshold": threshold}, applied)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        threshold = params.values["solarize_threshold"].to(images.dtype)
        return apply_where(images.clone(), threshold[:, 0] < 1, _solarize, threshold)

    def moments(self) -> Moments:
        return uniform_moments("solarize_threshold", self.threshold, self.p, neutral_value=1.0)


def _solarize(images: Tensor, threshold: Tensor) -> Tensor:
    # A product with ones and zeros is exact, and on a CPU much faster than torch.where.
    return images.lerp(1 - images, (images >= per_image(threshold)).to(images.dtype))
