"""Nothing in making views waits for the device; "meta" stands for one, since nothing can be read from it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from equissl.augment import paths
from equissl.augment.base import Augmentation
from equissl.augment.color.color_jitter import ColorJitter
from equissl.augment.geometry.flip import HorizontalFlip
from equissl.augment.geometry.quarter_turn import QuarterTurn
from equissl.augment.geometry.rotate import Rotate
from equissl.augment.torchvision.from_torchvision import FromTorchvision
from equissl.config import registry
from equissl.data.batch import Batch
from equissl.errors import UserError
from equissl.params import Binary, Circular, Params, Real, RigidMotion, Rotation, Space, interpolate
from equissl.random import Stream
from equissl.testing.objective import tiny_batch
from equissl.views import Between, Fresh, SameAs, ViewSpec, check_interpolated, make_views

BATCHED = [entry for entry in registry.subclasses(Augmentation) if entry.value is not FromTorchvision]


class NoBlockingCopies(TorchDispatchMode):
    """Raise where a tensor is copied between devices and the caller waits for it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        target = kwargs.get("device")
        if func is torch.ops.aten._to_copy.default and target not in (None, args[0].device):
            assert kwargs.get("non_blocking"), "a copy that waits for the device"
        return func(*args, **kwargs)


def test_the_stand_in_finds_what_waits() -> None:
    there = torch.ones(2, device="meta")
    for read in (Tensor.tolist, Tensor.nonzero, lambda x: torch.equal(x, x), lambda x: bool(x.all())):
        with pytest.raises((RuntimeError, NotImplementedError)):
            read(there)  # type: ignore[operator]
    with NoBlockingCopies(), pytest.raises(AssertionError):
        torch.ones(2).to("meta")


@pytest.mark.parametrize("entry", BATCHED, ids=lambda e: e.value.__name__)
def test_an_augmentation(entry: Any) -> None:
    augmentation = entry.value.example()
    keys, images = torch.empty(6, dtype=torch.int64, device="meta"), torch.empty(6, 3, 24, 24, device="meta")
    augmentation.apply(images, augmentation.sample(Stream(keys), (24, 24)))  # constants are copied once
    with NoBlockingCopies():
        params = augmentation.sample(Stream(keys), (24, 24))
        assert augmentation.apply(images, params).device.type == "meta"


@pytest.mark.parametrize("name", paths.PATHS)
@pytest.mark.parametrize("start", ["", "a"])
def test_views_between_two_others(name: str, start: str) -> None:
    policy = paths.PATHS[name]
    factors = paths.continuous_factors(policy)
    specs = {
        "a": ViewSpec(policy, draw=Fresh()),
        "b": ViewSpec(policy),
        "c": ViewSpec(policy, draw=Between(start, "b", 0.3, factors)),
    }
    images = torch.empty(4, 3, 16, 16, device="meta")
    known = {"image": Space().neutral(4)}
    batch = Batch({"image": images}, known, torch.zeros(4).long(), torch.arange(4, device="meta"))
    make_views(batch, specs, 0)
    with NoBlockingCopies():
        made = make_views(batch, specs, 0)
    assert made["c"].images.device.type == "meta"


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.7, 1.0])
def test_equal_ends_stay_as_they_are(fraction: float) -> None:
    space = Space((Real("x"), Circular("h", period=1.0), Rotation("r"), RigidMotion("m"), Binary("f")))
    values = {f.name: torch.rand(5, f.size, generator=torch.Generator().manual_seed(1)) for f in space}
    values["f"] = values["f"].round()
    a, b = Params.of(space, values), Params.of(space, {n: v.clone() for n, v in values.items()})
    middle = interpolate(a, b, fraction)
    assert all(torch.equal(middle.values[n], values[n]) for n in space.names)


def test_a_factor_that_cannot_be_interpolated_is_not_read_back() -> None:
    space = Space((Binary("flip"),))
    a, b = (Params.of(space, {"flip": torch.empty(3, 1, device="meta")}) for _ in range(2))
    with NoBlockingCopies():
        assert interpolate(a, b, 0.5).values["flip"] is a.values["flip"]


FLIP, TURNS = HorizontalFlip(), QuarterTurn()
BRIGHTNESS = Between("a", "b", 0.5, ("brightness",))


@pytest.mark.parametrize(
    ("start", "end", "draw", "message"),
    [
        (FLIP, FLIP, Between("a", "b"), "horizontal_flip cannot be interpolated; name others"),
        (FLIP, FLIP, Between("", "b", 0.5, ("horizontal_flip",)), "horizontal_flip cannot be interpolated"),
        (FLIP, HorizontalFlip(0.0), Between("a", "b"), "horizontal_flip cannot be interpolated"),
        (HorizontalFlip(1.0), HorizontalFlip(0.0), Between("a", "b"), "horizontal_flip cannot be"),
        (FLIP, TURNS, Between("a", "b"), "view 'a' has no factor 'quarter_turns'"),
        (FLIP, FLIP, Between("", "b", 0.5, ("hue",)), "view 'b' has no factor 'hue'"),
        (
            ColorJitter(0.1),
            ColorJitter(0.4),
            Between("a", "b", 0.5, ("brightness",)),
            "the ranges of brightness",
        ),
        (HorizontalFlip(1.0), HorizontalFlip(1.0), Between("a", "b"), ""),
        (Rotate((-30, 30)), Rotate((-30, 30)), Between("a", "b"), ""),
    ],
)
def test_what_cannot_be_interpolated_is_said_before_a_run(
    start: Augmentation, end: Augmentation, draw: Between, message: str
) -> None:
    specs = {"a": ViewSpec(start), "b": ViewSpec(end), "c": ViewSpec(end, draw=draw)}
    if message:
        with pytest.raises(UserError, match=f"views.c.draw: {message}"):
            check_interpolated(specs)
        specs["b"] = ViewSpec(start, draw=SameAs("a"))
        if start == end and draw.start:
            check_interpolated(specs)  # one draw differs from nothing
    else:
        check_interpolated(specs)
        make_views(tiny_batch(4), specs, 0)


def test_a_flip_that_differs_cannot_be_interpolated() -> None:
    space = Space((Binary("flip"),))
    a, b = (Params.of(space, {"flip": torch.tensor([[v]])}) for v in (0.0, 1.0))
    with pytest.raises(TypeError, match="flip cannot be interpolated"):
        interpolate(a, b, 0.5)
