"""Brightness, contrast, saturation and hue, in an order drawn for every image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation, Moments, NativeStep
from equissl.augment.batched import overwrite
from equissl.augment.color.adjust import brighten, contrast, saturate, shift_hue
from equissl.augment.validation import check_at_least, check_number, flag, spread, uniform
from equissl.params import Circular, Factor, Params, Permutation, Real, Space
from equissl.random import Stream

# The number that ``color_order`` gives an operation is its place here.
_OPERATIONS = {"brightness": brighten, "contrast": contrast, "saturation": saturate, "hue": shift_hue}
_REST = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}

# Each of the 24 orders is a subsequence of this one, the cheapest such: a batch of mixed orders takes these
# twelve steps together, and every image joins in at the steps that are its own.
SCHEDULE = (0, 2, 1, 3, 0, 2, 1, 0, 3, 2, 0, 1)


@dataclass(frozen=True)
class ColorJitter(Augmentation):
    """Change brightness, contrast, saturation and hue in a random order (torchvision's ColorJitter).

    One draw decides for all four. Factors lie in [max(0, 1 - strength), 1 + strength], the hue's shift in
    [-hue, hue] turns. ``color_order`` holds which operation runs k-th: 0 brightness, 1 contrast,
    2 saturation, 3 hue. An operation whose value is neutral is left out. Source: arXiv:2002.05709, A.

    Raises:
        ValueError: a strength is negative, ``hue`` above 0.5, or ``probability`` is outside [0, 1].
    """

    paper: ClassVar[str] = "arXiv:2002.05709"
    stream_name: ClassVar[str] = "ColorJitter"

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    probability: float = 0.8

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            check_at_least(f"ColorJitter.{name}", getattr(self, name), 0)
        check_number("ColorJitter.hue", self.hue, 0, 0.5)
        check_number("ColorJitter.probability", self.probability)

    @property
    def space(self) -> Space:
        factors: list[Factor] = []
        for name, bounds in self._bounds.items():
            scale = spread(bounds, self.probability, _REST[name])
            factors.append(Real(name, unit="factor", rest=_REST[name], scale=scale))
        factors[-1] = Circular("hue", unit="turns", period=1.0)
        return Space((*factors, Permutation("color_order")))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        units = stream.units(**dict.fromkeys(self._bounds, 1), order=4, applied=1)
        values = {name: low + (high - low) * units[name] for name, (low, high) in self._bounds.items()}
        values["color_order"] = units["order"].argsort(dim=1, stable=True).float()
        return Params.of(self.space, values, units["applied"][:, 0] < self.probability)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        images = images.clone()
        order = params.values["color_order"].round().long()
        values = [params.values[name].to(images.dtype) for name in _OPERATIONS]
        active = [(v != rest)[:, 0] for v, rest in zip(values, _REST.values(), strict=True)]
        operations = tuple(_OPERATIONS.values())
        done = torch.zeros_like(order[:, :1])
        for step in SCHEDULE:
            turn = ((order.gather(1, done.clamp(max=3)) == step) & (done < 4))[:, 0]
            images = overwrite(images, turn & active[step], operations[step], values[step])
            done = done + turn[:, None]
        return images

    def native(self, params: Params) -> NativeStep:
        return NativeStep("jitter", torch.cat([params.values[n] for n in (*_OPERATIONS, "color_order")], 1))

    def moments(self) -> Moments:
        p = self.probability
        slot = torch.arange(4, dtype=torch.float64)
        order = (1.5 * p + (1 - p) * slot, 3.5 * p + (1 - p) * slot.square())
        moments = {"color_order": order, **flag("color_order", p)}
        for name, bounds in self._bounds.items():
            moments |= uniform(name, bounds, p, _REST[name])
        return moments

    @property
    def _bounds(self) -> dict[str, tuple[float, float]]:
        factors = {n: getattr(self, n) for n in ("brightness", "contrast", "saturation")}
        ranges = {n: (max(0.0, 1 - s), 1 + s) for n, s in factors.items()}
        return {**ranges, "hue": (-self.hue, self.hue)}
