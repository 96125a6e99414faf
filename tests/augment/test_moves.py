"""What records of movements, boxes and noise mean: composition, interpolation, statistics."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.augment import (
    SE2,
    Affine,
    Gamma,
    GaussianNoise,
    Perspective,
    RandomErasing,
    Scale,
    Shear,
    replay,
)
from equissl.params import Params, between, interpolate
from equissl.random import Stream


def smooth(side: int = 48, wide: int = 60) -> Tensor:
    """An image without fine detail in a disc about its centre, float64: looking up twice loses little."""
    noise = Stream.of(torch.arange(1), "smooth").uniform("n", 3 * side * wide).view(1, 3, side, wide).double()
    blurred = F.interpolate(F.avg_pool2d(noise, 6), (side, wide), mode="bicubic")
    y, x = torch.arange(side)[:, None] - (side - 1) / 2, torch.arange(wide) - (wide - 1) / 2
    distance = (x.square() + y.square()).sqrt() / (0.4 * side)
    return blurred * (1 - distance.clamp(max=1).square()).square()


def record(**values: list[float]) -> dict[str, Tensor]:
    return {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}


def test_rigid_motions_compose_as_their_records() -> None:
    images, se2 = smooth(), SE2()
    first, second = record(motion=[0.7, 0.05, -0.1])["motion"], record(motion=[-2.0, 0.02, 0.08])["motion"]
    change = se2.space["motion"].between(first, second)
    direct = replay(se2, images, {"motion": second})
    # The change is in the frame of the moved image: it comes first, then the first motion.
    twice = replay(se2, replay(se2, images, {"motion": change}), {"motion": first})
    wrong = replay(se2, replay(se2, images, {"motion": first}), {"motion": change})
    assert (direct - twice).abs().max() < 0.02
    assert (direct - wrong).abs().max() > 0.1


@pytest.mark.parametrize(
    ("augmentation", "name"),
    [(Scale(), "zoom"), (Shear(), "shear_x"), (Shear(), "shear_y"), (Gamma(), "gamma")],
)
def test_repeated_steps_add_up(augmentation: Scale | Shear | Gamma, name: str) -> None:
    images = smooth().clamp(0, 1)
    rest = {n: torch.zeros(1, 1).double() for n in augmentation.space.names}

    def step(images: Tensor, amount: float) -> Tensor:
        return replay(augmentation, images, rest | record(**{name: [amount]}))

    assert (step(step(images, 0.1), 0.2) - step(images, 0.3)).abs().max() < 0.02
    assert (step(images, 0.3) - images).abs().max() > 0.05


def test_affine_contains_the_others() -> None:
    images, affine = smooth(), Affine()
    rest = {n: torch.zeros(1, 1).double() for n in affine.space.names}
    for augmentation in (Scale(), Shear()):
        draw = augmentation.sample(Stream.of(torch.arange(1), 4), (48, 60))
        assert torch.equal(replay(affine, images, rest | draw.values), augmentation.apply(images, draw))


def test_motions_are_in_units_of_the_shorter_side() -> None:
    images = smooth(48, 96)
    moved = replay(SE2(), images, record(motion=[0.0, 0.25, 0.0]))
    torch.testing.assert_close(moved[..., 12:], images[..., :-12], atol=1e-12, rtol=0)


def test_a_motion_between_two_views_shows_in_between() -> None:
    se2 = SE2((-90, 90), 0.2)
    stream = Stream.of(torch.arange(5), 1)
    start, end = se2.sample(stream, (48, 60)), se2.sample(stream.fork("b"), (48, 60))
    middle = interpolate(start, end, 0.5)
    halves = [between(a, b, se2.space).encode() for a, b in ((start, middle), (middle, end))]
    torch.testing.assert_close(*halves)
    assert se2.apply(smooth().expand(5, -1, -1, -1), middle).isfinite().all()


def test_perspective_moves_the_corners_where_the_record_says() -> None:
    images = torch.ones(1, 1, 200, 300, dtype=torch.float64)
    shifts = {f"{c}_{axis}": [0.0] for c in ("top_right", "bottom_right", "bottom_left") for axis in "xy"}
    view = replay(Perspective(), images, record(top_left_x=[0.2], top_left_y=[0.1], **shifts))[0, 0]
    # The upper left corner is now at (60, 20): the edges run from there to (300, 0) and to (0, 200).
    for x, y, inside in (
        (62, 24, 1),
        (57, 20, 0),
        (60, 17, 0),
        (180, 12, 1),
        (180, 8, 0),
        (32, 110, 1),
        (28, 110, 0),
    ):
        assert view[y, x] == pytest.approx(inside, abs=1e-9), (x, y)


def test_erased_boxes_follow_the_policy() -> None:
    erasing = RandomErasing((0.1, 0.2), (0.5, 2.0), value=(0.3,), p=0.7)
    stream = Stream.of(torch.arange(4000), 0)
    draw = erasing.sample(stream, (60, 80))
    top, left, height, width = (draw.values[n] for n in erasing.space.names)
    on = draw.applied["erase_top"]
    assert abs(float(on.float().mean()) - 0.7) < 0.03
    area, ratio = (height * width)[on], (height * 60 / (width * 80))[on]
    assert 0.09 < float(area.min()) < 0.11 and 0.19 < float(area.max()) < 0.21
    assert 0.45 < float(ratio.min()) < 0.55 and 1.9 < float(ratio.max()) < 2.1
    assert float((top + height).max()) <= 1 + 1e-6 and float((left + width).max()) <= 1 + 1e-6
    rows = torch.arange(200)
    view = erasing.apply(torch.zeros(200, 1, 60, 80), draw[rows])
    painted = (view - 0.3).abs() < 1e-7
    torch.testing.assert_close(painted.float().mean((1, 2, 3)), (height * width)[rows, 0], atol=1e-5, rtol=0)


def test_erasing_a_image_too_small_is_recorded_as_not_applied() -> None:
    draw = RandomErasing((0.9, 1.0), (0.3, 0.31), p=1.0).sample(Stream.of(torch.arange(9)), (2, 2))
    assert not draw.applied["erase_top"].any()
    assert not draw.values["erase_height"].any()


def test_noise_is_normal_and_a_function_of_its_record() -> None:
    noise = GaussianNoise((0.05, 0.05), p=1.0)
    images = torch.full((6, 3, 64, 64), 0.5)
    draw = noise.sample(Stream.of(torch.arange(6), 2), (64, 64))
    added = (noise.apply(images, draw) - 0.5).flatten(1) / 0.05
    assert (added.mean(1).abs() < 4 / math.sqrt(added.shape[1])).all()
    assert ((added.var(1) - 1).abs() < 4 * math.sqrt(2 / added.shape[1])).all()
    assert abs(float(added.pow(4).mean()) - 3) < 0.15
    assert (torch.corrcoef(added) - torch.eye(6)).abs().max() < 0.05
    again = Params.of(noise.space, {n: v[:1].expand(6, -1) for n, v in draw.values.items()})
    view = noise.apply(images, again)
    assert torch.equal(view, noise.apply(images[:1], draw[torch.tensor([0])]).expand(6, -1, -1, -1))
