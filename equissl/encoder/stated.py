"""What a model, an image processor or a transform says of the images that the model is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from equissl.encoder.published import IMAGENET


@dataclass(frozen=True)
class StatedInputs:
    """How images are made, as far as it is stated.

    Args:
        mean, std: per channel, of images in [0, 1]; empty if not stated.
        size: side in pixels; 0 if not stated.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: int = 0


def stated_inputs(source: object) -> StatedInputs:
    """What an object says of images.

    Read are a model of timm and its configuration (``pretrained_cfg``, ``timm.data.resolve_data_config``);
    torchvision's ``weights.transforms()`` and its models, whose weights are all for ImageNet's mean and
    deviation; an image processor of Hugging Face and a model's ``config``; and models of open_clip.

    >>> stated_inputs({"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "input_size": [3, 96, 96]})
    StatedInputs(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), size=96)
    """
    config = getattr(source, "pretrained_cfg", None)
    places: list[Any] = [p for p in (source, config, getattr(source, "config", None)) if p is not None]
    mean = _first(places, ("mean", "image_mean"), _numbers)
    std = _first(places, ("std", "image_std"), _numbers)
    if _get(source, "do_normalize") is False:
        mean, std = tuple(0.0 for _ in mean), tuple(1.0 for _ in std)
    if not mean and type(source).__module__.startswith("torchvision.models"):
        mean, std = IMAGENET
    embedded = _side(_get(getattr(source, "patch_embed", None), "img_size"))
    size = embedded or _first(places, ("crop_size", "input_size", "image_size", "size"), _side)
    return StatedInputs(mean, std, size) if len(mean) == len(std) else StatedInputs((), (), size)


def _first(places: Sequence[Any], names: Sequence[str], read: Any) -> Any:
    """The first value that reads as something, or that of nothing."""
    found = (read(_get(place, name)) for place in places for name in names)
    return next((value for value in found if value), read(None))


def _get(place: object, name: str) -> object:
    if isinstance(place, Mapping):
        return place.get(name)
    value = getattr(place, name, None)
    # A module's buffers and methods of such a name are no statement about its images.
    return None if callable(value) or isinstance(value, nn.Module) else value


def _numbers(value: object) -> tuple[float, ...]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (float(value),) * 3
    given = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    return tuple(float(v) for v in given) if all(isinstance(v, int | float) for v in given) else ()


def _side(value: object) -> int:
    if isinstance(value, Mapping) or hasattr(value, "shortest_edge"):
        sides = [_get(value, n) for n in ("height", "shortest_edge")]
        value = next((s for s in sides if s), None)
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        value = value[-1]
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
