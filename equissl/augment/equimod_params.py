"""EquiMod's original parameter vector, number for number, for comparison with the released code.

Layout (15 numbers, 17 with blur, 18 with solarize): crop top, left, height, width in raw source pixels; flip;
 jitter applied; order of the four color operations; brightness, contrast, saturation, hue; grayscale;
blur applied, blur sigma; solarize. See arXiv:2211.01244 and its code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from equissl.augment.base import Augmentation, Pipeline
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.params import Params

Count = Literal[15, 17, 18]
_CROP = {"crop_top": 0.0, "crop_left": 0.0, "crop_height": 1.0, "crop_width": 1.0}
_FACTORS = ("brightness", "contrast", "saturation")
_ORDER = (0.0, 1.0, 2.0, 3.0)


def equimod_vector(params: Params, height: Tensor | float, width: Tensor | float, count: Count) -> Tensor:
    """Parameters in the layout of EquiMod's released code.

    Args:
        params: absolute values; a factor that is missing counts as not applied, a crop as the whole image.
        height, width: of the source image in pixels, a number or (B, 1).
        count: 15 (SimCLR, CIFAR-10), 17 (SimCLR, ImageNet) or 18 (BYOL).

    Returns:
        (B, count) float32.
    """
    top, left, tall, wide = (_value(params, n, neutral) for n, neutral in _CROP.items())
    columns = [top * height, left * width, tall * height, wide * width]
    columns = [c.round() for c in columns]
    columns += [_value(params, "horizontal_flip", 0.0), _flag(params, "color_order")]
    columns += [_order(params), *(_value(params, n, 1.0) for n in _FACTORS)]
    columns += [_value(params, "hue", 0.0), _value(params, "grayscale", 0.0)]
    if count >= 17:
        columns += [_flag(params, "blur_sigma"), _value(params, "blur_sigma", 0.0)]
    if count == 18:
        columns.append(_value(params, "solarize", 0.0))
    return torch.cat(columns, 1).float()


def equimod_statistics(
    views: Sequence[Augmentation], size: tuple[int, int], count: Count
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the vector, in closed form from the policies.

    The crop's are of 65,536 boxes simulated on a source of ``size``: boxes are whole pixels, so their moments
    as fractions depend on it. Views with different policies are pooled by averaging their first and second
    moments.

    Args:
        size: of the source in pixels, (H, W).
    """
    crops = [{n: pair for crop in _crops(v) for n, pair in crop.moments_at(size).items()} for v in views]
    pooled = [_moments({**v.moments(), **at}, size, count) for v, at in zip(views, crops, strict=True)]
    first = torch.stack([m for m, _ in pooled]).mean(0)
    second = torch.stack([s for _, s in pooled]).mean(0)
    deviation = (second - first.square()).clamp(min=0).sqrt()
    deviation = torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))
    return tuple(first.tolist()), tuple(deviation.tolist())


def _crops(view: Augmentation) -> Iterator[RandomResizedCrop]:
    if isinstance(view, RandomResizedCrop):
        yield view
    elif isinstance(view, Pipeline):
        for step in view.steps:
            yield from _crops(step)


def _moments(
    moments: Mapping[str, tuple[Tensor, Tensor]], size: tuple[int, int], count: Count
) -> tuple[Tensor, Tensor]:
    neutral = {**_CROP, **dict.fromkeys(_FACTORS, 1.0)}
    first: list[float] = []
    second: list[float] = []

    def add(name: str, scale: float = 1.0) -> None:
        if name in moments:
            first.extend((moments[name][0] * scale).tolist())
            second.extend((moments[name][1] * scale**2).tolist())
        else:
            values = _ORDER if name == "color_order" else (neutral.get(name, 0.0) * scale,)
            first.extend(values)
            second.extend(v**2 for v in values)

    def add_flag(name: str) -> None:
        fraction = float(moments[f"{name}/applied"][0]) if f"{name}/applied" in moments else 0.0
        first.append(fraction)
        second.append(fraction)

    for name, pixels in zip(_CROP, (size[0], size[1], size[0], size[1]), strict=True):
        add(name, pixels)
    add("horizontal_flip")
    add_flag("color_order")
    add("color_order")
    for name in (*_FACTORS, "hue", "grayscale"):
        add(name)
    if count >= 17:
        add_flag("blur_sigma")
        add("blur_sigma")
    if count == 18:
        add("solarize")
    return torch.tensor(first, dtype=torch.float64), torch.tensor(second, dtype=torch.float64)


def _value(params: Params, name: str, neutral: float) -> Tensor:
    return params.values[name] if name in params.values else _constant(params, (neutral,))


def _flag(params: Params, name: str) -> Tensor:
    if name in params.applied:
        return params.applied[name][:, None].float()
    return _constant(params, (0.0,))


def _order(params: Params) -> Tensor:
    return params.values["color_order"] if "color_order" in params.values else _constant(params, _ORDER)


def _constant(params: Params, values: tuple[float, ...]) -> Tensor:
    """The same row for every image, on the device of the parameters: (B, len(values))."""
    device = next((v.device for v in params.values.values()), torch.device("cpu"))
    return constants_on(values, device).expand(len(params), -1)


@lru_cache
def constants_on(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers (N,) on a device, copied once: a copy in every step would wait for it."""
    return torch.tensor(values, device=device)
