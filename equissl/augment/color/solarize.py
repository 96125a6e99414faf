"""Random solarization, with one threshold for all images or one per image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import NativeStep
from equissl.augment.batched import per_image
from equissl.augment.binary import BinaryAugmentation
from equissl.augment.uniform import UniformAugmentation
from equissl.augment.validation import check_between, check_range
from equissl.params import Params


@dataclass(frozen=True)
class Solarize(BinaryAugmentation):
    """Invert values at or above a fixed threshold (torchvision's RandomSolarize; arXiv:2006.07733, B).

    Raises:
        ValueError: ``threshold`` or ``p`` is outside [0, 1].
    """

    paper: ClassVar[str] = "arXiv:2006.07733"
    stream_name: ClassVar[str] = "Solarize"
    geometric: ClassVar[bool | None] = False
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
class SolarizeThreshold(UniformAugmentation):
    """Invert what is at least as bright as a drawn threshold, where ``Solarize`` has one for all images.

    A threshold of 1 is "not solarized": unlike torchvision's, it does not turn white into black.

    Args:
        threshold: its range, within [0, 1].

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "SolarizeThreshold"
    geometric: ClassVar[bool | None] = False
    units: ClassVar[Mapping[str, str]] = {"solarize_threshold": "brightness"}
    stream_keys: ClassVar[Mapping[str, str]] = {"solarize_threshold": "threshold"}
    neutral_value: ClassVar[float] = 1.0

    threshold: tuple[float, float] = (0.0, 1.0)
    p: float = 0.5

    def __post_init__(self) -> None:
        check_range("SolarizeThreshold.threshold", self.threshold, 0, 1)
        super().__post_init__()

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return {"solarize_threshold": self.threshold}

    def transform(self, images: Tensor, *values: Tensor) -> Tensor:
        # A product with ones and zeros is exact, and on a CPU much faster than torch.where.
        return images.lerp(1 - images, (images >= per_image(values[0])).to(images.dtype))
