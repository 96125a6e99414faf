"""Audits of factors that a dataset records, and what the class or another factor says of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import equissl
from equissl.augment.filters.gaussian_noise import GaussianNoise
from equissl.data.base import InMemoryDataset
from equissl.errors import UserError
from equissl.evaluate.audit.asked import asked
from equissl.evaluate.audit.factors import AUDITS, ON_REQUEST
from equissl.evaluate.audit.readouts.interval import Resampled, beyond
from equissl.evaluate.base import Score
from equissl.params import Binary, Circular, Cyclic, Factor, Params, Real, Space

COUNT = 90
QUICK: dict[str, Any] = {"count": COUNT, "draws": 1, "untrained": 0, "minutes": 0.0}


def dataset(missing: bool = False) -> InMemoryDataset:
    """Images whose three channels hold a size, an angle's sine and cosine; the class says the weight.

    The weight is the class plus a little of its own, which the images do not show; they show the class.
    """
    generator = torch.Generator().manual_seed(0)
    size, own = torch.rand(2, COUNT, 1, generator=generator)
    angle = 2 * math.pi * torch.rand(COUNT, 1, generator=generator)
    labels = torch.arange(COUNT) % 3
    weight = labels[:, None] + 0.3 * own
    shades = torch.cat([size, angle.sin() / 2 + 0.5, angle.cos() / 2 + 0.5], 1)
    pixels = shades[:, :, None, None] * torch.ones(COUNT, 3, 8, 8)
    pixels[:, :, :, 4:] = labels[:, None, None, None] / 2
    space = Space((Real("size"), Circular("hue", unit="radians"), Real("weight"), Binary("tall")))
    values = {"size": size, "hue": angle, "weight": weight, "tall": (size > 0.5).float()}
    params = Params.of(space, values)
    if missing:
        known = torch.arange(COUNT) >= 7
        params = Params(space, values, {**params.applied, "size": known}, COUNT)
    return InMemoryDataset((255 * pixels).to(torch.uint8), params, labels, ("a", "b", "c"))


def network() -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten())


def audit(data: InMemoryDataset | None = None, **settings: Any) -> dict[str, Score]:
    scores = equissl.audit(network(), data or dataset(), **(QUICK | settings))
    return {s.name.removeprefix("audit/"): s for s in scores if not s.baseline}


def test_recorded_factors_are_read_beside_the_class_and_others() -> None:
    found = audit(factors=("size", "recorded_hue", "weight", "tall"))
    assert set(found) == {"size", "recorded_hue", "weight", "tall"}
    assert found["size"].value > 0.95 and found["recorded_hue"].value > 0.95
    assert found["tall"].unit == "balanced accuracy" and found["tall"].value > 0.85
    assert found["recorded_hue"].extra["degrees"] < 10
    size, weight, tall = (found[n].extra for n in ("size", "weight", "tall"))
    # The class says nothing of the size and nearly all of the weight, to which the features add nothing.
    assert size["from_class"][0] < 0.1 and size["within_class"][0] > 0.9
    assert found["weight"].value > 0.9
    assert weight["from_class"][0] > 0.9 and (weight["within_class"] or [0.0])[0] < 0.3
    # What is tall follows from the size, which is recorded too.
    assert tall["from_class"][0] < 0.65 and tall["from_others"][0] > 0.9
    assert size["amplitude"] is None and size["recorded"]


def test_an_augmentation_of_the_same_name_stays_what_it_is() -> None:
    found = audit(factors=("hue", "recorded_hue"))
    assert not found["hue"].extra["recorded"] and found["recorded_hue"].extra["recorded"]


def test_all_that_is_recorded_is_read_unless_factors_are_named() -> None:
    space = dataset().spaces["image"]
    assert asked((), space, (3, 8, 8)).recorded == space
    assert [a.name for a in asked((), space, (3, 8, 8)).audits] == [n for n in AUDITS if n not in ON_REQUEST]
    named = asked(("blur", "size"), space, (3, 8, 8))
    assert named.recorded.names == ("size",) and [a.name for a in named.audits] == ["blur"]


def test_a_factor_without_values_for_some_images_is_left_out_and_said() -> None:
    said: list[str] = []
    found = audit(dataset(missing=True), factors=("size", "weight"), say=said.append)
    assert set(found) == {"weight"}
    with pytest.raises(UserError, match="size cannot be read, as 7 of"):
        audit(dataset(missing=True), factors=("size",))
    assert any(line.startswith("audit: size is left out, as 7 of ") for line in said)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="no audit is called 'weihgt'; did you mean 'weight'"):
        audit(factors=("weihgt",))


def test_what_was_read_is_kept_and_goes_on(tmp_path: Path) -> None:
    first = audit(factors=("size", "tall"), store=tmp_path)
    (kept,) = tmp_path.iterdir()
    written = kept.stat().st_mtime_ns
    again = audit(factors=("size", "tall"), store=tmp_path)
    assert again == first and kept.stat().st_mtime_ns == written
    kept.write_bytes(kept.read_bytes()[:-9])
    assert audit(factors=("size", "tall"), store=tmp_path) == first


def of_one(factor: Factor, values: Tensor, groups: Tensor | None = None) -> InMemoryDataset:
    """The images of ``dataset`` with one factor."""
    params = Params.of(Space((factor,)), {factor.name: values})
    return replace(dataset(), params=params, targets=torch.full((COUNT,), -1), group_ids=groups)


def test_few_groups_are_read_however_often() -> None:
    data = replace(dataset(), group_ids=torch.arange(COUNT) % 10)  # a part of the learning curve has two
    found = audit(data, factors=("size",), draws=3)["size"]
    assert found.value > 0.9 and len(found.extra["learning_curve"]) == 3


def test_values_that_no_image_has_are_no_classes() -> None:
    size = dataset().params.values["size"]
    found = audit(of_one(Cyclic("kind", 50), (size > 0.5).float() * 40), factors=("kind",))["kind"]
    assert found.value > 0.85 and found.low > 0.7


def test_a_value_that_is_no_number_is_none() -> None:
    size = dataset().params.values["size"]
    size[3] = math.nan
    for factor in (Real("kind"), Binary("kind")):
        with pytest.raises(UserError, match=r"kind cannot be read, as 1 of 8\d images have no value"):
            audit(of_one(factor, size), factors=("kind",))


def test_no_two_names_become_one() -> None:
    size, weight = (dataset().params.values[n] for n in ("size", "weight"))
    space = Space((Real("hue"), Real("recorded_hue")))
    data = replace(dataset(), params=Params.of(space, {"hue": size, "recorded_hue": weight}))
    found = audit(data, factors=("recorded_hue", "recorded_recorded_hue"))
    assert found["recorded_hue"].extra["from_class"][0] < 0.1
    assert found["recorded_recorded_hue"].extra["from_class"][0] > 0.9


def test_a_name_of_an_augmentation_of_ones_own_is_refused() -> None:
    space = Space((Real("noise_sigma"), Real("GaussianNoise")))
    for name in space.names:
        with pytest.raises(UserError, match=f"'{name}' would be read from GaussianNoise and from what the"):
            asked((GaussianNoise(), name), space, (3, 8, 8))


def test_other_periods_of_the_same_numbers_are_read_anew(tmp_path: Path) -> None:
    angle = dataset().params.values["hue"]
    whole, half = (of_one(Circular("yaw", period=p * math.pi), angle) for p in (2, 1))
    assert audit(whole, factors=("yaw",), store=tmp_path)["yaw"].value > 0.95
    assert audit(half, factors=("yaw",), store=tmp_path) == audit(half, factors=("yaw",))


def test_more_wrong_answers_are_less_than_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    both, alone = (
        Resampled(torch.tensor([v]), v + 0.02 * torch.randn(100, generator=generator), False)
        for v in (0.6, 0.7)
    )
    found = beyond(both, alone).interval()
    assert found.value == pytest.approx(-1 / 3) and -1 <= found.low < found.value < found.high
