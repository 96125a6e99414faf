"""The names by which users ask for factors of augmentations: the same in keep=, factors= and Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

CROP = ("crop_top", "crop_left", "crop_height", "crop_width")
COLOR = ("brightness", "contrast", "saturation", "hue")
# Beside the factors themselves: names of several, and of single parameters.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "flip": ("horizontal_flip",),
    "color": COLOR,
    "colour": COLOR,
    **dict.fromkeys(CROP, ("crop",)),
    "blur_sigma": ("blur",),
}
GROUPS = ("flip", "color", "colour")  # of these, the ones to offer


def named_factors(names: Iterable[str | T]) -> tuple[str | T, ...]:
    """The factors that names stand for, each once; other names, and what is no name, as they are.

    >>> named_factors(["colour", "hue", "crop_left", "ripeness"])
    ('brightness', 'contrast', 'saturation', 'hue', 'crop', 'ripeness')
    """
    found: list[str | T] = []
    for name in names:
        for factor in ALIASES.get(name, (name,)) if isinstance(name, str) else (name,):
            if not isinstance(factor, str) or factor not in found:
                found.append(factor)
    return tuple(found)
