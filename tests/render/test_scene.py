"""Scenes: 3DIEBench's ranges, drawn from (seed, object, view) alone."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.testing import assert_close

from equissl.errors import UserError
from equissl.params import Params
from equissl.render.solids.scene import SPACE, light_direction, sample
from equissl.render.solids.vectors import color, rotation

MANY = 4000


@pytest.fixture(scope="module")
def params() -> Params:
    return sample(torch.arange(MANY) // 8, torch.arange(MANY) % 8, seed=0)


def scipy_rotation(pose: torch.Tensor) -> Rotation:
    return Rotation.from_quat(pose[:, [1, 2, 3, 0]].numpy())


def test_ranges_are_those_of_3diebench(params: Params) -> None:
    low_high = {
        "floor_hue": (0, 1),
        "light_hue": (0, 1),
        "light_azimuth": (0, 2 * math.pi),
        "light_elevation": (math.pi / 4, math.pi / 2),
    }
    for name, (low, high) in low_high.items():
        value = params.values[name]
        assert low <= value.min() < low + 0.01 * (high - low), name
        assert high - 0.01 * (high - low) < value.max() <= high, name
        assert_close(value.mean().item(), (low + high) / 2, atol=0.02 * (high - low), rtol=0)


def test_euler_angles_are_uniform_within_a_quarter_turn(params: Params) -> None:
    """Turning about x first and z last is what 3DIEBench does; another order leaves the range."""
    angles = scipy_rotation(params.values["pose"]).as_euler("xyz")
    assert np.abs(angles).max() <= math.pi / 2 + 1e-5
    np.testing.assert_allclose(angles.mean(0), 0, atol=0.06)
    np.testing.assert_allclose(angles.std(0), math.pi / math.sqrt(12), rtol=0.03)
    np.testing.assert_allclose(np.corrcoef(angles.T), np.eye(3), atol=0.06)


def test_uniform_rotations_have_no_preferred_direction() -> None:
    pose = sample(torch.arange(MANY), torch.zeros(MANY, dtype=torch.long), 0, "uniform").values["pose"]
    matrices = scipy_rotation(pose).as_matrix()
    np.testing.assert_allclose(matrices.mean(0), 0, atol=0.05)
    np.testing.assert_allclose((matrices**2).mean(0), 1 / 3, atol=0.03)
    np.testing.assert_allclose(np.trace(matrices, axis1=1, axis2=2).mean(), 0, atol=0.08)


@pytest.mark.parametrize("rotations", ["3diebench", "uniform"])
def test_poses_are_unit_quaternions(rotations) -> None:
    pose = sample(torch.arange(100), torch.zeros(100, dtype=torch.long), 0, rotations).values["pose"]
    assert_close(pose.norm(dim=1), torch.ones(100))


def test_rotation_matrix_agrees_with_scipy(params: Params) -> None:
    pose = params.values["pose"][:50]
    rows = torch.stack([torch.stack(row, 1) for row in rotation(pose)], 1)
    np.testing.assert_allclose(rows.numpy(), scipy_rotation(pose).as_matrix(), atol=1e-6)


def test_draw_depends_on_its_keys_only(params: Params) -> None:
    rows = torch.tensor([3999, 17, 8])
    again = sample(rows // 8, rows % 8, seed=0)
    other = sample(rows // 8, rows % 8, seed=1)
    for name in SPACE.names:
        assert torch.equal(again.values[name], params.values[name][rows]), name
        assert not torch.equal(other.values[name], again.values[name]), name


def test_all_factors_are_applied_and_encode(params: Params) -> None:
    assert all(flag.all() for flag in params.applied.values())
    assert params.encode().shape == (MANY, SPACE.encoded_size)
    elevation = SPACE["light_elevation"].encode(params.values["light_elevation"])
    assert_close(elevation.square().mean().item(), 1.0, atol=0.05, rtol=0)


def test_light_direction_is_where_azimuth_and_elevation_say() -> None:
    values = {f.name: f.neutral(2) for f in SPACE}
    values["light_azimuth"] = torch.tensor([[0.0], [math.pi / 2]])
    values["light_elevation"] = torch.tensor([[math.pi / 4], [math.pi / 4]])
    s = math.sqrt(0.5)
    assert_close(light_direction(Params.of(SPACE, values)), torch.tensor([[s, 0, s], [0, s, s]]))


def test_color_agrees_with_the_standard_library() -> None:
    import colorsys

    hues = torch.rand(50, generator=torch.Generator().manual_seed(0))
    ours = torch.stack(color(hues, 0.6, 0.8), 1)
    theirs = torch.tensor([colorsys.hsv_to_rgb(h, 0.6, 0.8) for h in hues.tolist()])
    assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_unknown_rotations_are_named() -> None:
    with pytest.raises(UserError, match=r"unifrom.*uniform"):
        sample(torch.arange(2), torch.arange(2), 0, "unifrom")  # type: ignore[arg-type]
