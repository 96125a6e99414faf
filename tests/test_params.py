"""Laws of factors, spaces and records."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation as ScipyRotation

from equissl.config import registry
from equissl.params import (
    Binary,
    Circular,
    Cyclic,
    Factor,
    Mask,
    Params,
    Permutation,
    Real,
    RigidMotion,
    Rotation,
    Seed,
    Space,
    between,
    concatenate,
    interpolate,
)
from equissl.random import Stream, shuffled
from equissl.testing.factor import check_factor


def draws(dtype: torch.dtype) -> dict[Factor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    orders = torch.stack([torch.randperm(4, generator=g) for _ in range(64)])
    return {
        Real("x", neutral_value=1.0, scale=0.3): torch.randn(64, 1, generator=g, dtype=dtype),
        Circular("hue", period=1.0): torch.rand(64, 1, generator=g, dtype=dtype) - 0.5,
        Binary("flip"): torch.randint(2, (64, 1), generator=g).to(dtype),
        Cyclic("turns", order=4): torch.randint(4, (64, 1), generator=g).to(dtype),
        Rotation("pose"): F.normalize(torch.randn(64, 4, generator=g, dtype=dtype), dim=1),
        Permutation("order"): orders.to(dtype),
        Mask("mask", count=5): torch.randint(2, (64, 5), generator=g).to(dtype),
        Seed("seed"): torch.randint(1 << 24, (64, 2), generator=g).to(dtype),
        RigidMotion("motion", scale=0.5): torch.randn(64, 3, generator=g, dtype=dtype),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", range(len(draws(torch.float32))))
def test_laws(kind: int, dtype: torch.dtype) -> None:
    factor, draw = list(draws(dtype).items())[kind]
    check_factor(factor, draw)


def test_half_turns_have_one_encoding() -> None:
    half = torch.tensor([[0.0, -0.6, 0.8, 0.0]])
    torch.testing.assert_close(Rotation("pose").encode(half), Rotation("pose").encode(-half))


def test_relative_rotation_equals_scipy() -> None:
    a, b = ScipyRotation.random(2, random_state=0)

    def quaternion(r: ScipyRotation) -> torch.Tensor:
        x, y, z, w = r.as_quat()
        return torch.tensor([[w, x, y, z]])

    found = Rotation("pose").between(quaternion(a), quaternion(b))
    torch.testing.assert_close(Rotation("p").encode(found), Rotation("p").encode(quaternion(a.inv() * b)))


def test_permutation_change_is_the_relabelling() -> None:
    order = torch.tensor([[2.0, 0.0, 3.0, 1.0]])
    identity = Permutation("order").neutral(1)
    torch.testing.assert_close(Permutation("order").between(identity, order), order)


def test_a_shorter_permutation_keeps_the_laws() -> None:
    order = Stream.of(torch.arange(30), 0).permutation("order", 3).float()
    check_factor(Permutation("channels", length=3), order)
    assert Permutation("channels", length=3).encoded_size == 9


def test_rigid_motions_compose_as_matrices() -> None:
    """Homogeneous matrices, with x to the right and y down, turned counter-clockwise as seen."""

    def matrix(motion: torch.Tensor) -> torch.Tensor:
        angle, right, down = motion.tolist()
        c, s = math.cos(angle), math.sin(angle)
        return torch.tensor([[c, s, right], [-s, c, down], [0, 0, 1]], dtype=torch.float64)

    motions = torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    motions[0, 0] = motions[1, 0]
    factor = RigidMotion("motion")
    change = factor.between(motions[:-1], motions[1:])
    for source, target, step in zip(motions[:-1], motions[1:], change, strict=True):
        torch.testing.assert_close(matrix(source) @ matrix(step), matrix(target))
    quarter = factor.interpolate(motions[:-1], motions[1:], 0.25)
    for source, target, part in zip(motions[:-1], motions[1:], quarter, strict=True):
        step = torch.linalg.solve(matrix(source), matrix(part))
        torch.testing.assert_close(matrix(source) @ torch.linalg.matrix_power(step, 4), matrix(target))
    assert factor.pooled(RigidMotion("motion", scale=7.0)).scale == pytest.approx(5.0)


def test_missing_factors_are_neutral() -> None:
    space = Space((Real("brightness", neutral_value=1.0), Binary("flip")))
    plain = Params.of(Space(), {}, count=3)
    view = Params.of(space, {"brightness": torch.full((3, 1), 1.5), "flip": torch.ones(3, 1)})
    change = between(plain, view, space)
    torch.testing.assert_close(change.values["brightness"], torch.full((3, 1), 0.5))
    torch.testing.assert_close(change.values["flip"], torch.ones(3, 1))


def test_what_was_not_applied_is_neutral() -> None:
    space = Space((Real("brightness", neutral_value=1.0),))
    applied = torch.tensor([True, False])
    drawn = Params.of(space, {"brightness": torch.full((2, 1), 1.5)}, applied)
    assert drawn.values["brightness"].flatten().tolist() == [1.5, 1.0]
    assert drawn.applied["brightness"].tolist() == [True, False]


def test_two_views_pool_their_ranges() -> None:
    one, two = Space((Real("sigma", scale=1.0),)), Space((Real("sigma", scale=2.0),))
    assert (one | two)["sigma"].scale == pytest.approx(math.sqrt(2.5))  # type: ignore[attr-defined]


def test_errors_name_what_is_wrong() -> None:
    space = Space((Circular("hue"), Binary("flip")))
    with pytest.raises(KeyError, match="did you mean 'hue'"):
        space.select(["huee"])
    with pytest.raises(ValueError, match="twice"):
        Space((Binary("flip"), Binary("flip")))
    with pytest.raises(ValueError, match=r"flip must have shape \(2, 1\)"):
        Params(
            space,
            {"hue": torch.zeros(2, 1), "flip": torch.zeros(2)},
            dict.fromkeys(("hue", "flip"), torch.ones(2).bool()),
            2,
        )
    flips = Params.of(Space((Binary("flip"),)), {"flip": torch.tensor([[0.0], [1.0]])})
    with pytest.raises(TypeError, match="cannot be interpolated"):
        interpolate(flips, flips[torch.tensor([1, 0])], 0.5)


def test_rows_and_concatenation_round_trip() -> None:
    space = Space((Circular("hue"),))
    params = Params.of(space, {"hue": torch.rand(5, 1, generator=torch.Generator().manual_seed(0))})
    halves = concatenate([params[torch.arange(2)], params[torch.arange(2, 5)]])
    assert torch.equal(halves.values["hue"], params.values["hue"])


def test_streams_belong_to_images() -> None:
    index = torch.arange(100)
    stream = Stream.of(index, 7, 3, "a")
    rows = torch.tensor([5, 50, 7])
    assert torch.equal(stream.uniform("x", 3)[rows], Stream.of(rows, 7, 3, "a").uniform("x", 3))
    for other in (Stream.of(index, 8, 3, "a"), Stream.of(index, 7, 4, "a"), Stream.of(index, 7, 3, "b")):
        assert not torch.equal(stream.uniform("x"), other.uniform("x"))


def test_streams_are_uniform_and_uncorrelated() -> None:
    u = Stream.of(torch.arange(50_000), 0).uniform("x", 4).double()
    assert (u.mean(0) - 0.5).abs().max() < 4 / math.sqrt(12 * 50_000)
    assert (torch.corrcoef(u.T) - torch.eye(4)).abs().max() < 4 / math.sqrt(50_000)
    assert u.min() >= 0 and u.max() < 1
    neighbours = torch.corrcoef(torch.stack([u[:-1, 0], u[1:, 0]]))[0, 1].abs()
    assert neighbours < 4 / math.sqrt(50_000)


def test_permutations_are_uniform() -> None:
    orders = Stream.of(torch.arange(24_000), 1).permutation("p", 4)
    _, counts = torch.unique(orders, dim=0, return_counts=True)
    assert len(counts) == 24
    assert (counts - 1000).abs().max() < 5 * math.sqrt(1000)


def test_shuffled_is_a_permutation_of_its_own() -> None:
    assert torch.equal(shuffled(100, 0, 1).sort().values, torch.arange(100))
    assert not torch.equal(shuffled(100, 0, 1), shuffled(100, 0, 2))


def test_every_kind_of_factor_has_draws() -> None:
    found = {e.value for e in registry.subclasses(Factor)}
    assert found == {type(f) for f in draws(torch.float32)}
