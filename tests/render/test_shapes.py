"""Every class is a signed distance function that fits its sphere, and every solid tells its pose."""

import pytest
import torch
from torch.testing import assert_close

from equissl.render.solids.objects import Objects, make_objects
from equissl.render.solids.raymarching import KNOB_RADIUS, Rays, march, normal
from equissl.render.solids.shapes import CLASS_NAMES, SHAPES
from equissl.render.solids.vectors import length, normalize, subtract

KINDS = range(len(SHAPES))
EACH = 8  # objects of a class


def solids(kind: int, seed: int = 0) -> Objects:
    return make_objects(torch.arange(EACH) * len(SHAPES) + kind, seed)


def points(n: int, radius: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=1)
    x, y, z = (direction * radius).unbind(1)
    return x, y, z


def column(objects: Objects, kind: int):
    return objects.surface(SHAPES[kind]).mapped(lambda c: c[:, None])


def test_classes_have_distinct_names() -> None:
    assert len(set(CLASS_NAMES)) == len(CLASS_NAMES) >= 10


@pytest.mark.parametrize("kind", KINDS, ids=CLASS_NAMES)
def test_solid_fills_its_sphere_and_stays_inside(kind: int) -> None:
    surface = column(solids(kind), kind)
    assert surface.distance(points(4000, 1.0)).min() > -0.01
    assert (surface.distance(points(4000, 0.75)).min(1).values < 0).all()


@pytest.mark.parametrize("kind", KINDS, ids=CLASS_NAMES)
def test_distance_never_promises_too_much(kind: int) -> None:
    """A step as long as the distance must not pass through the surface, so slopes are at most one."""
    surface = column(solids(kind), kind)
    start, step = points(2000, 1.2, seed=1), points(2000, 1.0, seed=2)
    reach = torch.linspace(0.01, 2.0, 2000)
    end = tuple(a + b * reach for a, b in zip(start, step, strict=True))
    change = (surface.distance(end) - surface.distance(start)).abs()
    assert (change <= reach * 1.02 + 1e-4).all()


@pytest.mark.parametrize("kind", KINDS, ids=CLASS_NAMES)
def test_rays_stop_on_the_surface_and_normals_point_out(kind: int) -> None:
    surface = solids(kind).surface(SHAPES[kind])
    start, goal = points(1600, 2.0), points(1600, 0.7, seed=3)  # many of these rays miss
    inward = normalize(subtract(goal, start))
    which = torch.arange(1600) % EACH
    rays = Rays(which, start, inward, torch.full((1600,), 0.5), torch.full((1600,), 3.5))
    depth, met = march(surface, rays)
    assert 0.2 < met.float().mean() < 0.95
    here = rays[met].at(depth[met])
    solid = surface[which[met]]
    assert solid.distance(here).abs().max() < 7e-3
    facing = normal(solid, here)
    assert_close(length(*facing), torch.ones(int(met.sum())))
    assert solid.distance(tuple(p + 0.02 * n for p, n in zip(here, facing, strict=True))).median() > 0.01
    missed = rays[~met]
    for t in torch.linspace(0.5, 3.5, 40):
        assert surface[missed.solid].distance(missed.at(t)).min() > -7e-3


@pytest.mark.parametrize("kind", KINDS, ids=CLASS_NAMES)
def test_knob_sits_on_the_body(kind: int) -> None:
    objects = solids(kind)
    dimensions = objects.surface(SHAPES[kind]).dimensions
    x, y, z = objects.knob.unbind(1)
    assert SHAPES[kind].distance((x, y, z), dimensions).abs().max() < 2e-3
    assert objects.knob.norm(dim=1).max() < 1 - KNOB_RADIUS + 0.02


@pytest.mark.parametrize("kind", KINDS, ids=CLASS_NAMES)
def test_objects_of_a_class_differ(kind: int) -> None:
    objects = solids(kind)
    used = objects.dimensions[:, : len(SHAPES[kind].ranges)]
    assert torch.cdist(used, used).add(torch.eye(EACH)).min() > 1e-4


def test_object_is_a_function_of_seed_and_number() -> None:
    one, other = make_objects(torch.arange(60), 3), make_objects(torch.tensor([41, 7]), 3)
    for name, value in vars(other).items():
        assert torch.equal(value, vars(one)[name][[41, 7]]), name
    assert not torch.equal(make_objects(torch.arange(60), 4).dimensions, one.dimensions)


def test_colour_says_nothing_about_the_class() -> None:
    objects = make_objects(torch.arange(len(SHAPES) * 300), 0)
    angle = objects.body[:, 0] * 2 * torch.pi
    for kind in KINDS:
        mine = angle[objects.kind == kind]
        assert torch.stack([mine.cos().mean(), mine.sin().mean()]).norm() < 0.15  # 3 sigma = 0.13
        assert_close(objects.body[objects.kind == kind].mean(0), objects.body.mean(0), atol=0.06, rtol=0)
