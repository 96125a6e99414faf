"""The steering explorer's numbers: exact predictors, lazy ones, what is drawn, recorded and searched."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from equissl.augment.base import replay
from equissl.data.base import InMemoryDataset
from equissl.data.solids import Solids
from equissl.encoder.encoder import Encoded, Encoder
from equissl.evaluate.audit.factors import AUDITS
from equissl.evaluate.explorer.factor_sweeps import BOX, FactorSweep, distance, factor_sweeps, grid
from equissl.evaluate.explorer.sprite import sprite
from equissl.evaluate.explorer.steering import NO_PREDICTOR, ExplorerSize, steering
from equissl.params import (
    Circular,
    Params,
    Real,
    Rotation,
    Space,
    between,
    euler_quaternion,
    quaternion_product,
)
from equissl.random import Stream
from equissl.recipes import quickstart, sie

LIGHT = Space((Real("light"),))
SMALL = ExplorerSize(images=3, others=12, steps=7, nearest=4)


class Quarters(nn.Module):
    """The mean of each quarter of each channel, (B, 12): light moves features by as much."""

    def forward(self, images: Tensor) -> Tensor:
        means: Tensor = nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)
        return means


class Adds:
    """Predicts that light adds to every feature ``gain`` times itself."""

    def __init__(self, gain: float = 1.0, space: Space = LIGHT):
        self.gain, self.space = gain, space

    def target(self, target: Encoded) -> Tensor:
        return target.vector

    def predict(self, source: Encoded, change: Params) -> Tensor:
        return source.vector + self.gain * change.values["light"]


def encoder() -> Encoder:
    return Encoder(Quarters(), None, (0.45,) * 3, (1.0,) * 3, (3, 8, 8))


def lit(objects: int = 6, views: int = 4, draws: bool = True) -> InMemoryDataset:
    """Objects are patterns, their views differ by "light", which is added to every pixel."""
    stream = Stream.of(torch.arange(objects), "lit")
    patterns = stream.uniform("pattern", 3 * 8 * 8).view(objects, 3, 8, 8) * 0.4
    groups = torch.arange(objects).repeat_interleave(views)
    light = Stream.of(torch.arange(len(groups)), "lit").uniform("light", low=0.0, high=0.5)

    def draw(group: Tensor, params: Params) -> Tensor:
        pixels = patterns[group] + params.values["light"][:, :, None, None]
        return (pixels * 255).round().to(torch.uint8)

    params = Params.of(LIGHT, {"light": light})
    render = draw if draws else None
    return InMemoryDataset(draw(groups, params), params, groups % 2, ("a", "b"), groups, renderer=render)


def explorer(module: Any, data: InMemoryDataset, size: ExplorerSize = SMALL) -> dict[str, Any]:
    result = steering({"m": module}, encoder(), data, torch.arange(len(data)), size=size)
    assert result["note"] == ""
    found: dict[str, Any] = result["explorers"][0]  # type: ignore[index]
    return found


def sweeps(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [sweep for source in found["sources"] for sweep in source["sweeps"]]


def test_an_exact_predictor_finds_what_is_rendered_and_the_identity_stays() -> None:
    exact, lazy = explorer(Adds(), lit()), explorer(Adds(0), lit())
    assert len(exact["sources"]) == 3
    for sweep in sweeps(exact):
        assert sweep["kind"] == "rendered" and min(sweep["similarity"]) > 0.999
        rest = sweep["values"].index(sweep["neutral_value"])
        assert sweep["identity_similarity"][rest] == pytest.approx(1, abs=1e-4)
        assert min(sweep["identity_similarity"]) < 0.99
        assert all(near == sorted(near, reverse=True) for near in sweep["nearest_similarity"])
    for sweep in sweeps(lazy):
        assert sweep["similarity"] == sweep["identity_similarity"]
        assert all(found == sweep["nearest"][0] for found in sweep["nearest"])
    assert all(s["identity_nearest"] == sweep["nearest"][0] for s in lazy["sources"] for sweep in s["sweeps"])


def test_ranks_and_distances_equal_a_slow_reference() -> None:
    data = lit()
    found = explorer(Adds(0.5), data)
    vectors = encoder()(data.images.float() / 255).vector.detach()
    kept = len(found["bank"]["groups"])
    assert kept == found["bank"]["sprite"]["count"]
    known = [r for r in range(len(data)) if found["bank"]["groups"].count(int(data.groups[r]))]
    for source in found["sources"]:
        (sweep,) = source["sweeps"]
        row = source["index"]
        for p, value in enumerate(sweep["values"]):
            target = float(data.params.values["light"][row]) + value
            predicted = vectors[row] + 0.5 * value
            drawn = data.render(torch.tensor([row]), Params.of(LIGHT, {"light": torch.tensor([[target]])}))
            assert drawn is not None
            truth = encoder()(drawn.float() / 255).vector.detach()[0]
            cosine = torch.cosine_similarity(predicted, truth, dim=0)
            assert sweep["similarity"][p] == pytest.approx(float(cosine), abs=2e-3)
            assert source["bank"] not in sweep["nearest"][p] and row in known
            assert sweep["num_candidates"][p] == kept  # everything but the start, and the truth
            for reference, off in zip(sweep["nearest"][p], sweep["nearest_distance"][p], strict=True):
                group = found["bank"]["groups"][reference]
                lights = data.params.values["light"][data.groups == group][:, 0]
                assert min(abs(float(v) - target) - off for v in lights) <= 1e-4


def test_without_drawing_the_nearest_recorded_view_is_the_truth() -> None:
    data = lit(draws=False)
    for source in explorer(Adds(), data)["sources"]:
        (sweep,) = source["sweeps"]
        assert sweep["kind"] == "recorded" and source["sprite"] is None
        row = source["index"]
        light = data.params.values["light"][:, 0]
        others = [r for r in range(len(data)) if data.groups[r] == data.groups[row] and r != row]
        for value, off in zip(sweep["values"], sweep["truth_distance"], strict=True):
            assert off == pytest.approx(
                min(abs(float(light[r] - light[row]) - value) for r in others), abs=1e-3
            )
    alone = replace(data, group_ids=None)
    assert {sweep["kind"] for sweep in sweeps(explorer(Adds(), alone))} == {""}


def test_what_cannot_be_steered_is_said() -> None:
    data, rows = lit(), torch.arange(24)
    assert steering({}, encoder(), data, rows) == {"explorers": [], "note": NO_PREDICTOR}
    result = steering({"odd": Adds(space=Space((Real("smell"),)))}, encoder(), data, rows, size=SMALL)
    assert result["explorers"] == [] and "odd reads no factor" in str(result["note"])
    assert "two images" in str(steering({"m": Adds()}, encoder(), data, rows[:1])["note"])
    with pytest.raises(ValueError, match="steps must be at least 3, got 2"):
        ExplorerSize(steps=2)


def test_the_network_is_left_as_it_was_and_answers_repeat() -> None:
    recipe = sie.sie_solids()
    model = recipe.build(recipe.data.spaces).train()
    data = Solids(size=8, objects=12, views=3).open("test")
    modules: Any = {"sie": model.modules_by_name["sie"]}
    rows = torch.arange(len(data))
    size = ExplorerSize(images=1, others=4, steps=3, nearest=2)
    first = steering(modules, model.encoder, data, rows, size=size)
    assert model.encoder.training and model.modules_by_name["sie"].training
    assert json.dumps(first) == json.dumps(steering(modules, model.encoder, data, rows, size=size))
    shown = sweeps(first["explorers"][0])  # type: ignore[index]
    assert [s["name"] for s in shown[:5]] == ["yaw", "pitch", "roll", "floor_hue", "light_hue"]
    assert {s["kind"] for s in shown} == {"rendered"}


def test_an_augmentation_is_its_own_truth_and_may_find_its_versions() -> None:
    recipe = quickstart.equivariant()
    model = recipe.build(recipe.data.spaces)
    data = Solids(size=32, objects=24, views=2).open("test")
    result = steering(
        {"equimod": model.modules_by_name["equimod"]},  # type: ignore[dict-item]
        model.encoder,
        data,
        torch.arange(len(data)),
        size=ExplorerSize(images=1, others=6, steps=5, nearest=200),
    )
    found: dict[str, Any] = result["explorers"][0]  # type: ignore[index]
    (source,) = found["sources"]
    bank, made = found["bank"]["sprite"]["count"], source["sprite"]["count"]
    assert [s["name"] for s in source["sweeps"]] == [
        "centred crop",
        "crop to a side",
        "crop up or down",
        "hue",
    ]
    assert made == sum(len(s["values"]) for s in source["sweeps"])
    unchanged = {s["truth"][s["values"].index(s["neutral_value"])] for s in source["sweeps"]}
    for sweep in source["sweeps"]:
        assert sweep["kind"] == "augmented" and set(sweep["truth"]) <= set(range(bank, bank + made))
        for near in sweep["nearest"]:
            assert len(near) == bank - 1 + made - 3  # "no change" once
            assert len(unchanged & set(near)) == 1 and unchanged & set(near) <= set(sweep["truth"])


def image() -> Tensor:
    return Stream.of(torch.arange(1), "image").uniform("p", 3 * 16 * 16).view(1, 3, 16, 16)


def made(space: Space, recorded: Params | None = None, steps: int = 9) -> dict[str, FactorSweep]:
    known = Space().neutral(1) if recorded is None else recorded
    return {s.name: s for s in factor_sweeps(space, image(), known, known, steps)}


def test_turns_are_about_the_axes_of_the_world() -> None:
    space = Space((Rotation("pose"),))
    start = euler_quaternion(torch.tensor([[0.3, -0.5, 0.7]])).float()
    recorded = Params.of(space, {"pose": start})
    found = made(space, recorded)
    assert list(found) == ["yaw", "pitch", "roll"]
    for name, axis in (("pitch", 0), ("roll", 1), ("yaw", 2)):
        sweep = found[name]
        angles = torch.zeros(len(sweep.values), 3, dtype=torch.float64)
        angles[:, axis] = sweep.values.deg2rad()
        turned = sweep.target.values["pose"].double()
        undone = start.double() * torch.tensor([1.0, -1, -1, -1]).double()
        in_the_world = quaternion_product(turned, undone.expand(len(turned), -1))
        assert torch.allclose(in_the_world, euler_quaternion(angles), atol=1e-6)
        change = between(recorded[torch.zeros(len(turned), dtype=torch.int64)], sweep.target, space)
        size = 2 * change.values["pose"][:, 0].abs().clamp(max=1).acos()
        assert torch.allclose(size.double(), sweep.values.deg2rad().abs(), atol=2e-3)
        plain = made(space, Params.of(space, {"pose": torch.tensor([[1.0, 0, 0, 0]])}))[name]
        assert torch.allclose(plain.target.values["pose"].double(), euler_quaternion(angles), atol=1e-6)
        assert torch.allclose(distance(space["pose"], turned, start.double()), sweep.values.abs(), atol=1e-2)


def test_numbers_stay_where_images_are_and_angles_go_round() -> None:
    space = Space((Real("height", unit="metres"), Circular("azimuth", unit="radians")))
    many = Params.of(space, {"height": torch.linspace(1, 3, 101)[:, None], "azimuth": torch.zeros(101, 1)})
    here = many[torch.tensor([25])]
    height, azimuth = factor_sweeps(space, image(), here, many, 9)
    reached = height.target.values["height"]
    assert reached.min() == pytest.approx(1.05) and reached.max() == pytest.approx(2.95)
    assert azimuth.unit == "degrees" and azimuth.values[[0, -1]].tolist() == [-180, 180]
    assert torch.equal(azimuth.target.values["height"], here.values["height"].expand(9, 1))


def test_versions_are_what_the_augmentation_makes() -> None:
    space = AUDITS["hue"].space + AUDITS["blur"].space + AUDITS["crop"].space + AUDITS["grayscale"].space
    found = made(space)
    assert {"centred crop", "hue", "brightness", "blur", "grayscale"} <= set(found)
    for sweep in found.values():
        assert sweep.images is not None
        rest = sweep.values.tolist().index(sweep.neutral_value)
        assert torch.allclose(sweep.images[rest], image()[0], atol=2e-6)
        assert (
            sweep.images.sub(sweep.images[rest]).abs().amax((1, 2, 3)).gt(1e-3).sum() == len(sweep.values) - 1
        )
    hue = found["hue"]
    record = {n: hue.target.values[n] for n in AUDITS["hue"].space.names}
    again = replay(AUDITS["hue"], image().expand(len(hue.values), -1, -1, -1), record)
    assert hue.images is not None and torch.equal(again, hue.images)
    assert found["blur"].values[[0, -1]].tolist() == [0, 2]
    boxes = torch.cat([found["crop to a side"].target.values[n] for n in BOX], 1)
    assert torch.all(boxes[:, :2] + boxes[:, 2:] <= 1 + 1e-6) and torch.all(boxes >= 0)
    assert boxes[-1].tolist() == pytest.approx([0.3, 0.6, 0.4, 0.4])  # top, left, height, width


def test_grids_hold_their_neutral_value() -> None:
    assert grid(-1, 1, 0, 5).tolist() == [-1, -0.5, 0, 0.5, 1]
    assert grid(0.6, 1.4, 1.0, 4).tolist() == pytest.approx([0.6, 1.0, 1.1333333, 1.4])
    assert grid(0.5, 2.0, 0.0, 4).tolist() == [0, 0.5, 1, 1.5, 2]


def test_solids_are_drawn_again_bit_for_bit() -> None:
    data = Solids(size=16, objects=60, views=2).open("test")
    rows = torch.tensor([3, 0, 11])
    assert torch.equal(data.render(rows, Space().neutral(3)), data.images[rows])  # type: ignore[arg-type]
    hue = Space((data.params.space["floor_hue"],))
    other = data.render(rows, Params.of(hue, {"floor_hue": data.params.values["floor_hue"][rows] + 0.5}))
    assert other is not None and (other.float() - data.images[rows].float()).abs().mean() > 10
    assert lit(draws=False).render(rows, Space().neutral(3)) is None


@pytest.mark.parametrize("shape", [(5, 3, 24, 24), (3, 1, 16, 10), (2, 3, 200, 100)])
def test_a_sheet_holds_every_image(shape: tuple[int, ...]) -> None:
    level = torch.linspace(0.2, 0.9, shape[0])[:, None, None, None].expand(shape)
    sheet = sprite(level)
    data = base64.b64decode(str(sheet["image"]).partition("base64,")[2])
    drawn = Image.open(io.BytesIO(data))
    size, columns = int(sheet["size"]), int(sheet["columns"])  # type: ignore[call-overload]
    assert drawn.size == (columns * size, int(sheet["rows"]) * size) and size <= 64  # type: ignore[call-overload]
    for k in range(shape[0]):
        middle = (k % columns * size + size // 2, k // columns * size + size // 2)
        seen = drawn.convert("L").getpixel(middle)
        assert seen == pytest.approx(float(level[k, 0, 0, 0]) * 255, abs=4)
