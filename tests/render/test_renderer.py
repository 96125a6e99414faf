"""Images show what their factors say, and depend on nothing else."""

import colorsys
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from equissl.errors import UserError
from equissl.params import Params, quaternion_product
from equissl.render.solids import renderer
from equissl.render.solids.objects import make_objects
from equissl.render.solids.renderer import render
from equissl.render.solids.scene import SPACE, Studio, sample
from equissl.render.solids.shapes import CLASS_NAMES

KINDS = len(CLASS_NAMES)
WHITE = Studio(lamp=0.0)
WIDE_LAMP = Studio(lamp_cone=1.0, sky=0.2)


def scenes(n: int, **changed: Tensor) -> Params:
    params = sample(torch.arange(n), torch.zeros(n, dtype=torch.long), seed=5)
    return Params.of(SPACE, {**params.values, **changed})


def project(point: np.ndarray, size: int, studio: Studio = Studio()) -> np.ndarray:
    """Column and row of world points (n, 3) in pixels: a pinhole camera written down once more."""
    eye = studio.camera_distance * np.array([0, math.sin(math.pi / 4), math.cos(math.pi / 4)])
    forward = -eye / np.linalg.norm(eye)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    seen = point - eye
    focal = size / 2 / math.tan(studio.field_of_view / 2)
    depth = seen @ forward
    return np.stack([size / 2 + focal * (seen @ right) / depth, size / 2 - focal * (seen @ up) / depth], 1)


def hue(rgb: np.ndarray) -> float:
    return colorsys.rgb_to_hsv(*rgb)[0]


def apart(a: float, b: float) -> float:
    return abs((a - b + 0.5) % 1 - 0.5)


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    numbers = torch.arange(2 * KINDS)
    return numbers, render(make_objects(numbers, 0), scenes(2 * KINDS), 16)


def test_image_does_not_depend_on_its_neighbours(batch, monkeypatch) -> None:
    numbers, images = batch
    objects, params = make_objects(numbers, 0), scenes(2 * KINDS)
    rows = torch.tensor([20, 3, 3, 11, 0])
    assert torch.equal(render(objects[rows], params[rows], 16), images[rows])
    monkeypatch.setitem(renderer._CHUNK_SIZE, "cpu", 100)  # several tiles, the last one not full
    assert torch.equal(render(objects[rows], params[rows], 16), images[rows])


def test_number_of_threads_changes_nothing(batch) -> None:
    numbers, images = batch
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            assert torch.equal(render(make_objects(numbers, 0), scenes(len(numbers)), 16), images)
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)


def test_images_are_neither_dark_nor_flat(batch) -> None:
    _, images = batch
    pixels = images.float().flatten(1)
    assert ((pixels.mean(1) > 40) & (pixels.mean(1) < 215)).all()
    assert (pixels.std(1) > 15).all()


def test_size_changes_the_resolution_only(batch) -> None:
    numbers, images = batch
    fine = render(make_objects(numbers, 0), scenes(len(numbers)), 48).float()
    assert (torch.nn.functional.avg_pool2d(fine, 3) - images.float()).abs().mean() < 4


def test_knob_is_where_the_pose_puts_it() -> None:
    """The dark knob of a solid turned towards the camera is seen where a second camera projects it."""
    n, size = 80 * KINDS, 64
    objects, params = make_objects(torch.arange(n), 0), scenes(n)
    turned = Rotation.from_quat(params.values["pose"][:, [1, 2, 3, 0]].numpy()).apply(objects.knob.numpy())
    rows = torch.from_numpy(np.flatnonzero(turned @ [0, 0.7071, 0.7071] > 0.62))
    assert len(rows) > 60
    images = render(objects[rows], params[rows], size, WHITE).numpy()
    place = np.floor(project(turned[rows], size)).astype(int)

    def darkness(column: np.ndarray, row: np.ndarray) -> float:
        return float((images[np.arange(len(rows)), :, row, column].max(1) < 75).mean())

    assert darkness(place[:, 0], place[:, 1]) > 0.95
    assert darkness(size - 1 - place[:, 0], place[:, 1]) < 0.35
    assert darkness(place[:, 0], size - 1 - place[:, 1]) < 0.35


def test_shadow_falls_away_from_the_lamp() -> None:
    """Where one lamp's shadow is, the opposite lamp shines."""
    size, azimuth = 48, torch.tensor([[0.0], [math.pi], [-0.5], [math.pi - 0.5]])
    params = scenes(1)[torch.zeros(4, dtype=torch.long)]
    lamps = {"light_azimuth": azimuth, "light_elevation": torch.full((4, 1), math.pi / 4)}
    ball = make_objects(torch.full((4,), CLASS_NAMES.index("ellipsoid")), 0)
    images = render(ball, Params.of(SPACE, {**params.values, **lamps}), size, WIDE_LAMP).float().sum(1)
    angle = azimuth[:, 0].numpy()
    shadow = WIDE_LAMP.floor * np.stack([np.cos(angle), np.sin(angle), np.ones(4)], 1)
    column, row = np.floor(project(shadow, size)).astype(int).T
    for mine, opposite in ((0, 1), (1, 0), (2, 3), (3, 2)):
        dark, bright = (float(images[k, row[mine], column[mine]]) for k in (mine, opposite))
        assert dark < 0.75 * bright, (mine, dark, bright)


def test_floor_hue_is_read_back_from_the_floor() -> None:
    params = scenes(2 * KINDS)
    images = render(make_objects(torch.arange(2 * KINDS), 0), params, 32, WHITE)
    corner = images[:, :, :4, :4].float().mean((2, 3)).numpy() / 255
    for rgb, value in zip(corner, params.values["floor_hue"][:, 0].tolist(), strict=True):
        assert apart(hue(rgb), value) < 0.01


def test_light_hue_is_read_back_from_a_grey_difference() -> None:
    """Amounts of light are squares of pixels: with and without the lamp they differ by floor times lamp."""
    params = scenes(2 * KINDS, light_elevation=torch.full((2 * KINDS, 1), 1.5))
    objects = make_objects(torch.arange(2 * KINDS), 0)
    dim = Studio(lamp_cone=1.0, sky=0.3, lamp=0.4)
    amounts = [
        (render(objects, params, 32, studio)[:, :, :3, :3].double() / 255).square().mean((2, 3))
        for studio in (dim, replace(dim, lamp=0.0))
    ]
    light = ((amounts[0] - amounts[1]).clamp(min=0) / amounts[1]).sqrt().numpy()
    for rgb, value in zip(light, params.values["light_hue"][:, 0].tolist(), strict=True):
        assert apart(hue(rgb), value) < 0.02


@pytest.mark.parametrize(
    "turn", [(0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0.7071, 0, 0, 0.7071), (0.5, 0.5, 0.5, 0.5)]
)
def test_no_solid_looks_the_same_after_a_turn(turn) -> None:
    """The turns that leave boxes, tori, cylinders, crosses and pyramids as they were show in the paint."""
    numbers = torch.arange(3 * KINDS)
    before = scenes(len(numbers))
    turned = quaternion_product(before.values["pose"], torch.tensor([turn]).float().expand(len(numbers), 4))
    after = Params.of(SPACE, {**before.values, "pose": turned})
    objects = make_objects(numbers, 0)
    change = (render(objects, before, 24).float() - render(objects, after, 24).float()).abs().amax(1)
    changed = (change > 25).float().mean((1, 2))
    assert changed.min() > 0.015
    assert changed.reshape(-1, KINDS).mean(0).min() > 0.05


def test_objects_of_one_class_differ_in_the_same_scene() -> None:
    numbers = torch.arange(4) * KINDS
    params = scenes(1)[torch.zeros(4, dtype=torch.long)]
    images = render(make_objects(numbers, 0), params, 24).float().flatten(1)
    assert (torch.pdist(images / 255, p=1) / images.shape[1]).min() > 0.01


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="at least 8 pixels"):
        render(make_objects(torch.arange(1), 0), scenes(1), 4)
    with pytest.raises(ValueError, match="2 objects but 1 scenes"):
        render(make_objects(torch.arange(2), 0), scenes(1), 16)
