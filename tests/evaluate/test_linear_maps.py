"""Linear maps fitted to changes of the images: exact laws of encoders whose maps are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from equissl.augment.base import Augmentation
from equissl.data.base import InMemoryDataset
from equissl.encoder.encoder import Encoder
from equissl.errors import UserError
from equissl.evaluate.context import EvaluationContext
from equissl.evaluate.equivariance.changes import CHANGES, PRODUCTS, suitable_changes
from equissl.evaluate.equivariance.fitted_maps import FittedMaps
from equissl.evaluate.equivariance.linear_maps import LinearMaps
from equissl.params import Params, Space
from equissl.random import Stream


def images(count: int, size: int = 4) -> Tensor:
    return Stream.of(torch.arange(count), "images").uniform("x", 3 * size * size).view(count, 3, size, size)


class Pixels(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Radial(nn.Module):
    """The means of the middle and of the border: nothing that a turn or a flip changes."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :, 1:3, 1:3].mean((2, 3)), x.mean((2, 3))], 1)


def context(backbone: nn.Module, count: int = 120) -> EvaluationContext:
    x = (images(count) * 255).round().to(torch.uint8)
    data = InMemoryDataset(x, Params.of(Space(), {}, count=count), torch.full((count,), -1))
    encoder = Encoder(backbone, mean=(0.0,) * 3, std=(1.0,) * 3, probe=(3, 4, 4))
    return EvaluationContext(encoder, {"test": data}, {"test": torch.arange(count)})


def apply(change: str, x: Tensor) -> Tensor:
    augment: Augmentation = CHANGES[change]
    return augment.apply(x, augment.sample(Stream.of(torch.arange(len(x)), "any"), (4, 4)))


@pytest.mark.parametrize("product", PRODUCTS)
def test_two_changes_of_images_are_the_one_that_they_are_said_to_be(product: tuple[str, str, str]) -> None:
    x = images(6)
    twice = apply(product[1], apply(product[0], x))
    once = apply(product[2], x) if product[2] else x
    assert (apply(product[0], x) - x).abs().max() > 0.1
    torch.testing.assert_close(twice, once, atol=2e-4, rtol=0)


def test_turns_of_pixels_are_linear_and_compose() -> None:
    names = ("rotate_90", "rotate_180", "rotate_270", "horizontal_flip", "darker", "much_darker")
    scores = list(LinearMaps(names).run(context(Pixels())))
    own = {s.name: s.value for s in scores if not s.baseline and s.part == "all"}
    for name in names:
        assert own[f"map/{name}"] < 1e-6
    products = [value for name, value in own.items() if name.startswith("product/")]
    assert len(products) == 6 and max(products) < 1e-6
    baselines = {s.baseline: s.value for s in scores if s.name == "map/rotate_90" and s.baseline}
    assert baselines["identity"] == 1 and baselines["shift"] == pytest.approx(1, abs=0.05)
    assert baselines["constant"] == pytest.approx(0.5, abs=0.05)  # pixels of these images are independent


def test_features_that_do_not_move_are_said_not_to() -> None:
    scores = [s for s in LinearMaps().run(context(Radial())) if not s.baseline and s.part == "all"]
    moved = {s.name: s for s in scores if s.name.startswith("moved/")}
    still = {n for n, s in moved.items() if not s.extra["moves"]}
    assert still == {f"moved/{n}" for n in ("rotate_90", "rotate_180", "rotate_270", "horizontal_flip")}
    assert moved["moved/rotate_90"].value < 1e-6 and "does not move" in moved["moved/rotate_90"].title
    assert not any("rotate" in s.name or "flip" in s.name for s in scores if s not in moved.values())


def test_features_that_know_nothing_of_the_plain_image_reach_a_half() -> None:
    """The best map of independent features is the constant: |y|^2 / |y - x|^2 = 1/2.

    20 columns that are fitted on 240 images add 20 / 240 of it.
    """
    plain, changed = (Stream.of(torch.arange(300), name).normal("x", 20) for name in "ab")
    maps = FittedMaps.of(plain, {"g": changed}, torch.arange(300))
    ratio = maps.error("g").interval()
    assert ratio.low < 0.5 * (1 + 20 / 240) < ratio.high and ratio.high - ratio.low < 0.1
    assert maps.constant_error("g").value == pytest.approx(0.5, abs=0.02)
    assert maps.amplitude("g").value == pytest.approx(1, abs=0.05)


def test_maps_apply_to_other_features_as_they_were_fitted() -> None:
    x = images(60).flatten(1)
    maps = FittedMaps.of(x, {"g": x.flip(1) ** 2}, torch.arange(60))
    mapped = maps.mapped("g", maps.plain) - maps.plain
    for fold in maps.fits["g"]:
        torch.testing.assert_close(mapped[fold.held_out], fold.predictions, atol=1e-5, rtol=0)
        assert not set(fold.held_out.tolist()) & set(fold.fit.tolist())


def test_intervals_cover_what_other_images_give() -> None:
    """Of 40 samples of 80 images, at least 34 intervals hold the mean of all (95 % would be 38)."""
    way = Stream.of(torch.arange(12), "way").normal("w", 12)
    found = []
    for k in range(40):
        x = Stream.of(torch.arange(80), "x", k).normal("x", 12)
        noise = Stream.of(torch.arange(80), "noise", k).normal("x", 12)
        found.append(FittedMaps.of(x, {"g": x @ way + 2 * noise}, torch.arange(80)).error("g").interval())
    mean = sum(f.value for f in found) / len(found)
    assert sum(f.low < mean < f.high for f in found) >= 34
    assert sum(f.high - f.low for f in found) / len(found) < 0.6 * mean


def test_changes_that_do_not_exist_or_suit_are_refused() -> None:
    with pytest.raises(UserError, match="rotate_90"):
        LinearMaps(("rotate_91",))
    assert not {"rotate_90", "hue_half"} & set(suitable_changes((), (1, 4, 6)))
    with pytest.raises(UserError, match="needs colour images"):
        suitable_changes(("hue_half",), (1, 4, 4))
    assert "needs" in LinearMaps().unavailable_reason(context(Pixels(), 6))
