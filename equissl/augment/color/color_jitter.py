"""Random brightness, contrast, saturation and hue, in random order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from equissl.augment.base import Augmentation, NativeStep
from equissl.augment.batched import apply_in_turn
from equissl.augment.color.functional import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    adjust_saturation_hsv,
)
from equissl.augment.moments import Moments, permutation_moments, rms_scale, uniform_moments
from equissl.augment.validation import check_at_least, check_between
from equissl.params import Circular, Factor, Params, Permutation, Real, Space
from equissl.random import Stream

# ``color_order`` holds indices into this mapping.
_OPERATIONS = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "saturation": adjust_saturation,
    "hue": adjust_hue,
}
_NEUTRAL = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}

# The cheapest sequence that has each of the 24 orders as a subsequence: a batch of mixed orders takes these
# twelve steps together, each image only those of its own order.
SCHEDULE = (0, 2, 1, 3, 0, 2, 1, 0, 3, 2, 0, 1)


@dataclass(frozen=True)
class ColorJitter(Augmentation):
    """Change brightness, contrast, saturation and hue in a random order (torchvision's ColorJitter).

    With probability ``p`` all four are changed, else none. Factors are uniform in [max(0, 1 - strength),
    1 + strength], the hue shift in [-hue, hue] turns. Entry k of ``color_order`` is the k-th operation:
    0 brightness, 1 contrast, 2 saturation, 3 hue. An operation whose value is neutral is skipped.
    Source: arXiv:2002.05709, A.

    Args:
        saturation_space: "rgb" blends each pixel with its luma (torchvision), "hsv" multiplies the saturation
            of HSV (kornia, which AugSelf's released code uses); not in native code.
        shared_order: all images of a batch take the order of its first image (kornia). Their parameters then
            depend on the batch, and with several devices each part of it has an order of its own.

    >>> import torch
    >>> from equissl import augment
    >>> _, record = augment.views(torch.rand(2, 3, 8, 8), augment.ColorJitter(hue=0.1), count=1)
    >>> record.table().headings[-2:]
    ('hue [turns]', 'color_order')

    Raises:
        ValueError: a strength is negative, ``hue`` above 0.5, or ``p`` is outside [0, 1].
    """

    paper: ClassVar[str] = "arXiv:2002.05709"
    stream_name: ClassVar[str] = "ColorJitter"
    geometric: ClassVar[bool | None] = False

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    p: float = 0.8
    saturation_space: Literal["rgb", "hsv"] = "rgb"
    shared_order: bool = False

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            check_at_least(f"ColorJitter.{name}", getattr(self, name), 0)
        check_between("ColorJitter.hue", self.hue, 0, 0.5)
        check_between("ColorJitter.p", self.p)

    @property
    def space(self) -> Space:
        factors: list[Factor] = []
        for name, bounds in self._bounds.items():
            scale = rms_scale(bounds, self.p, _NEUTRAL[name])
            factors.append(Real(name, unit="factor", neutral_value=_NEUTRAL[name], scale=scale))
        factors[-1] = Circular("hue", unit="turns", period=1.0)
        return Space((*factors, Permutation("color_order")))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        units = stream.units(**dict.fromkeys(self._bounds, 1), order=4, applied=1)
        values = {name: low + (high - low) * units[name] for name, (low, high) in self._bounds.items()}
        order = units["order"].argsort(dim=1, stable=True).float()
        values["color_order"] = order[:1].expand_as(order) if self.shared_order else order
        return Params.of(self.space, values, units["applied"][:, 0] < self.p)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        order = params.values["color_order"].round().long()
        values = [params.values[name].to(images.dtype) for name in _OPERATIONS]
        active = [(v != neutral)[:, 0] for v, neutral in zip(values, _NEUTRAL.values(), strict=True)]
        operations = list(_OPERATIONS.values())
        if self.saturation_space == "hsv":
            operations[2] = adjust_saturation_hsv
        turns = []
        order = torch.cat([order, torch.full_like(order[:, :1], -1)], 1)  # behind the last one there is none
        done = torch.zeros_like(order[:, :1])  # operations applied so far
        for step in SCHEDULE:
            is_next = order.gather(1, done) == step
            turns.append((is_next[:, 0] & active[step], operations[step], values[step]))
            done = done + is_next
        return apply_in_turn(images, turns)

    def native(self, params: Params) -> NativeStep | None:
        if self.saturation_space == "hsv":
            return None
        return NativeStep("jitter", torch.cat([params.values[n] for n in (*_OPERATIONS, "color_order")], 1))

    def moments(self) -> Moments:
        moments = permutation_moments("color_order", len(_OPERATIONS), self.p)
        for name, bounds in self._bounds.items():
            moments |= uniform_moments(name, bounds, self.p, _NEUTRAL[name])
        return moments

    @property
    def _bounds(self) -> dict[str, tuple[float, float]]:
        factors = {n: getattr(self, n) for n in ("brightness", "contrast", "saturation")}
        ranges = {n: (max(0.0, 1 - s), 1 + s) for n, s in factors.items()}
        return {**ranges, "hue": (-self.hue, self.hue)}
