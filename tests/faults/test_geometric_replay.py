"""Geometric factors replayed alone, masks of valid pixels, and a table that says what was applied."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from equissl.augment import (
    AugMix,
    ColorJitter,
    FixedAugmentation,
    GaussianBlur,
    HorizontalFlip,
    Invert,
    Pipeline,
    Prefixed,
    RandomElement,
    RandomErasing,
    RandomResizedCrop,
    Resize,
    Rotate,
    Translate,
    views,
)
from equissl.augment.base import Augmentation
from equissl.augment.engine import Engine
from equissl.config import registry
from equissl.params import Params

SPOILED = (ColorJitter(p=1.0), Invert(0.5), GaussianBlur(5, p=1.0), RandomErasing(p=1.0))
MOVED = (RandomResizedCrop(24), HorizontalFlip(), Prefixed(Rotate(), "a_"), RandomElement(HorizontalFlip()))
IMAGES = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_only_what_moves_pixels(engine: Engine) -> None:
    steps = (MOVED[0], SPOILED[0], *MOVED[1:3], *SPOILED[1:], Pipeline((Prefixed(Invert(), "b_"),)))
    _, record = views(IMAGES, Pipeline(steps), engine=engine)
    (moved, _), wanted = views(IMAGES, Pipeline(MOVED[:3]), engine=engine)
    assert torch.equal(record.replay(IMAGES, geometric=True)[0], moved)
    masks = (IMAGES[:, :1] > 0.5).float()
    for mask, other in zip(record.replay(masks, geometric=True), wanted.replay(masks), strict=True):
        assert torch.equal(mask, other)


def test_an_element_of_a_group_moves_pixels_too() -> None:
    _, record = views(IMAGES, Pipeline((MOVED[3], Invert(1.0))), count=1)
    on = record.params["a"].values["horizontal_flip"].view(-1, 1, 1, 1) == 1
    assert torch.equal(record.replay(IMAGES, geometric=True)[0], torch.where(on, IMAGES.flip(3), IMAGES))


def test_valid_pixels() -> None:
    shift = Pipeline((Translate(0.5, padding_mode="zeros", p=1.0), Invert(1.0)))
    _, record = views(IMAGES, shift, count=1)
    (valid,) = record.valid_pixels((32, 32))
    assert valid.shape == (6, 1, 32, 32) and valid.min() >= 0 and valid.max() <= 1
    for k in range(6):
        x, y = (float(record.params["a"].values[n][k, 0]) for n in ("shift_x", "shift_y"))
        assert float(valid[k].mean()) == pytest.approx((1 - abs(x)) * (1 - abs(y)), abs=0.03)
    _, turned = views(IMAGES, Rotate((45, 45), padding_mode="zeros", p=1.0), count=1)
    corner = turned.valid_pixels((32, 32))[0][:, :, 0, 0]
    assert not corner.any() and float(turned.valid_pixels((32, 32))[0].mean()) == pytest.approx(
        2 * (math.sqrt(2) - 1), abs=0.02
    )
    _, whole = views(IMAGES, Pipeline((Rotate(padding_mode="reflection"), RandomResizedCrop(8))))
    assert all(torch.allclose(v, torch.ones(6, 1, 8, 8), atol=1e-5) for v in whole.valid_pixels((32, 32)))


@dataclass(frozen=True)
class Own(FixedAugmentation):
    def apply(self, images: Tensor, params: Params) -> Tensor:
        return images.flip(2)


@dataclass(frozen=True)
class OwnGeometric(Own):
    geometric = True


def test_what_is_not_known_is_refused() -> None:
    for policy in (AugMix(), Pipeline((HorizontalFlip(), Own()))):
        _, record = views(IMAGES, policy)
        with pytest.raises(
            ValueError, match=r"does not tell geometric operations from others.*geometric = True"
        ):
            record.replay(IMAGES, geometric=True)
    _, record = views(IMAGES, OwnGeometric(), count=1)
    assert torch.equal(record.replay(IMAGES, geometric=True)[0], IMAGES.flip(2))


def test_every_augmentation_of_the_package_says_it() -> None:
    mixed = {"AugMix", "FromTorchvision", "Pipeline", "Prefixed", "RandAugment", "RandomElement"}
    kinds = [entry.value for entry in registry.subclasses(Augmentation)]
    assert {kind.__name__ for kind in kinds if kind.geometric is None} == mixed


def test_a_table_tells_what_was_applied(tmp_path: Path) -> None:
    _, record = views(IMAGES, Pipeline((ColorJitter(0.0, 0.4, 0.4, 0.1, p=0.5), HorizontalFlip())), count=1)
    table = record.table(applied=True)
    assert "brightness_applied" not in record.table().columns
    assert set(table.columns["brightness"]) == {1.0}  # neutral, whether applied or not
    assert table.columns["brightness_applied"] == record.params["a"].applied["brightness"].tolist()
    assert set(table.columns["brightness_applied"]) == {True, False}
    table.to_csv(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["brightness_applied"] == "True" for row in rows] == table.columns["brightness_applied"]
    _, two = views(IMAGES, {"plain": Invert(), "flipped": HorizontalFlip()})
    assert two.table(applied=True).columns["invert_applied"][:2][1] is None


def test_another_number_of_images_is_refused() -> None:
    _, record = views(torch.rand(3, 3, 8, 8), Resize(4))
    with pytest.raises(ValueError, match="of 3 images, got 2"):
        record.replay(torch.rand(2, 3, 8, 8))
