"""Edge values of every field of every augmentation: a clear ValueError, or finite images."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from equissl.augment import (
    AugMix,
    BlurLevels,
    Operation,
    PatchMask,
    RandAugment,
    Rotate,
    SolarizeLevels,
    replay,
)
from equissl.augment.base import Augmentation
from equissl.augment.torchvision.from_torchvision import FromTorchvision
from equissl.config import registry
from equissl.random import Stream

STREAM = Stream.of(torch.arange(6), "edges")
IMAGES = STREAM.uniform("images", 3 * 16 * 16).view(6, 3, 16, 16)
NAN, INF = math.nan, math.inf
PLAIN: list[Any] = [0, 1, -1, 2.5, 0.0, 1.0, NAN, INF, -INF, "a", None, True, [0.1, 0.5]]
PAIRS: list[Any] = [(), (0,), (0, 0), (1, 1), (0.0, 0.0), (1.0, 1.0), (-1, 1), (1, 0), (NAN, NAN), (0, INF)]
MORE: list[Any] = [
    (0.5, 0.5),
    ("a", "b"),
    (2.5, 3.5),
    (1, 2, 3),
    (1e300, 1e300),
    (1e-300, 1e-300),
    (0.0, 1e-12),
]
BATCHED = [entry.value for entry in registry.subclasses(Augmentation) if entry.value is not FromTorchvision]


@pytest.mark.parametrize("kind", BATCHED, ids=lambda kind: kind.__name__)
def test_every_field(kind: Any) -> None:
    example = kind.example()
    for field in dataclasses.fields(example):
        for value in (*PLAIN, *PAIRS, *MORE):
            try:
                augmentation = dataclasses.replace(example, **{field.name: value})
                params = augmentation.sample(STREAM, (16, 16))
                views = augmentation.apply(IMAGES.clone(), params)
            except ValueError:
                continue
            finite = all(v.isfinite().all() for v in (views, *params.values.values()))
            assert finite, f"{field.name}={value}"


@pytest.mark.parametrize(
    ("fields", "masked"),
    [
        ({"mask_ratio": (1.0, 1.0)}, {196}),
        ({"mask_ratio": (1e-5, 1e-5)}, {1}),
        ({"grid_size": 1}, {1}),
        ({"grid_size": 2, "mask_ratio": (0.5, 0.5)}, {2}),
        ({"p": 0.0}, {0}),
    ],
)
def test_patch_masks_at_their_edges(fields: dict[str, Any], masked: set[int]) -> None:
    mask = PatchMask(**{"p": 1.0, **fields})
    values = mask.sample(STREAM, (32, 32)).values["patch_mask"]
    assert set(values.sum(1).int().tolist()) == masked


@pytest.mark.parametrize("fields", [{"grid_size": 2.5}, {"grid_size": True}, {"mask_ratio": (0.0, 0.5)}])
def test_patch_masks_beyond_their_edges(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"PatchMask.{next(iter(fields))} must be"):
        PatchMask(**fields)


def test_patches_smaller_than_a_pixel() -> None:
    mask = PatchMask(grid_size=17)
    with pytest.raises(ValueError, match="grid_size=17: images of 16 x 16 px"):
        mask.apply(IMAGES, mask.sample(STREAM, (16, 16)))


@pytest.mark.parametrize("ends", [(0.0, NAN), (INF, 1.0), ("a", 1.0)])
def test_operations_between_values_that_are_none(ends: Any) -> None:
    with pytest.raises(ValueError, match=r"Operation\.(start|end) must be"):
        Operation(Rotate(), "rotation", *ends)
    with pytest.raises(ValueError, match=r"Operation\.augmentation must be"):
        Operation("rotate", "rotation", 0.0, 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [RandAugment, AugMix])
def test_magnitudes_at_their_edges(kind: Any) -> None:
    none = kind(magnitude=(0.0, 0.0)).sample(STREAM, (16, 16))
    most = kind(magnitude=(1.0, 1.0)).sample(STREAM, (16, 16))
    magnitudes = [n for n in most.space.names if "magnitude" in n]
    assert not any(none.values[n].any() for n in magnitudes)
    assert {abs(v) for n in magnitudes for v in most.values[n][:, 0].tolist()} | {0.0} == {0.0, 1.0}
    for outside in ((-0.1, 0.5), (0.5, 1.1), (NAN, NAN)):
        with pytest.raises(ValueError, match=r"magnitude must be a (range|tuple)"):
            kind(magnitude=outside)


def test_levels_that_are_equal() -> None:
    for kind, levels in ((BlurLevels, (5, 5)), (SolarizeLevels, (0.5, 0.5))):
        with pytest.raises(ValueError, match="must differ from each other"):
            kind(levels)
    with pytest.raises(ValueError, match="must be at least 3"):
        BlurLevels((1, 3))


def test_a_record_with_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="rotation holds values that are not finite"):
        replay(Rotate(), IMAGES, {"rotation": torch.full((6, 1), NAN)})
