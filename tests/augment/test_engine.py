"""Every engine carries out a record as torch does: native code, compiled graphs, chunks."""

import functools
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from equissl.augment import (
    CIFAR10,
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Identity,
    Invert,
    Normalize,
    Pipeline,
    RandomResizedCrop,
    Rotate,
    Solarize,
    VerticalFlip,
    batched,
    engine,
    memory,
    native,
    presets,
)
from equissl.augment.base import Augmentation
from equissl.augment.engine import render, resolve_engine
from equissl.augment.prefixed import Prefixed
from equissl.errors import UserError
from equissl.params import Params
from equissl.random import Stream

AVAILABLE: list[Any] = ["torch", "native"] if native.available() else ["torch"]
needs_compiler = pytest.mark.skipif(not native.available(), reason="needs a C compiler")


def make_images(size: tuple[int, int], count: int = 6, dtype: torch.dtype = torch.uint8) -> Tensor:
    stream = Stream.of(torch.arange(count), "images")
    values = stream.uniform("pixels", 3 * math.prod(size)).view(count, 3, *size)
    values[0] = values[0, :1]  # a grey image: its hue is nowhere
    values[1].round_()  # only extremes, so that clipping matters
    exact = (values * 255).round()
    return exact.to(torch.uint8) if dtype == torch.uint8 else exact / 255


def both(step: Augmentation, images: Tensor, **how: Any) -> tuple[Tensor, Tensor]:
    draw = step.sample(Stream.of(torch.arange(len(images)), "draw"), (images.shape[2], images.shape[3]))
    return render(step, images, draw, "native", **how), render(step, images, draw, **how)


ALONE = [
    RandomResizedCrop(20),
    RandomResizedCrop(48, interpolation="bicubic"),
    RandomResizedCrop(7, scale=(0.5, 1.0)),
    HorizontalFlip(),
    VerticalFlip(),
    ColorJitter(p=1.0),
    ColorJitter(0.8, 0.8, 0.8, 0.5, p=1.0),
    Grayscale(0.5),
    Solarize(p=0.5),
    Invert(),
    GaussianBlur(23, p=1.0),
    GaussianBlur(3, (0.0, 0.5)),
    CIFAR10,
]


@needs_compiler
@pytest.mark.parametrize("step", ALONE, ids=str)
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (96, 96)], ids=str)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_a_native_step_equals_torch(step: Augmentation, size: tuple[int, int], dtype: torch.dtype) -> None:
    images = make_images(size, dtype=dtype)
    assert step.native(step.sample(Stream.of(torch.arange(2), ""), size)) is not None
    fast, reference = both(step, images)
    assert fast.shape == reference.shape
    # A hue beside two equal channels may take either side; both lead to the same colour within rounding.
    torch.testing.assert_close(fast, reference, atol=1e-5, rtol=0)


POLICIES = {
    "cifar": (presets.simclr(32, 0.5, blur=0), 32),
    "equimod-byol": (presets.equimod_byol(2, 32), 40),
    "imagenet": (presets.equimod_byol(2, 224), 256),
    "stl": (Pipeline((*presets.simclr(96).steps, CIFAR10)), 96),
    "up": (presets.simclr(96), 50),
}


@needs_compiler
@pytest.mark.parametrize("name", POLICIES)
def test_a_native_policy_equals_torch(name: str) -> None:
    policy, source = POLICIES[name]
    fast, reference = both(policy, make_images((source, source), 4))
    torch.testing.assert_close(fast, reference, atol=1e-5, rtol=0)


@needs_compiler
def test_steps_that_are_not_native_run_between() -> None:
    policy = Pipeline(
        (RandomResizedCrop(32), Rotate(), Pipeline((HorizontalFlip(), GaussianBlur(5))), Identity())
    )
    fast, reference = both(policy, make_images((40, 40)))
    torch.testing.assert_close(fast, reference, atol=1e-5, rtol=0)


@needs_compiler
def test_native_threads_and_neighbours_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, images = presets.simclr(24), make_images((32, 32), 40)
    draw = policy.sample(Stream.of(torch.arange(40), "draw"), (32, 32))
    whole = render(policy, images, draw, "native")
    rows = torch.tensor([31, 2, 17])
    assert torch.equal(render(policy, images[rows], draw[rows], "native"), whole[rows])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(render(policy, images, draw, "native"), whole)


@needs_compiler
@pytest.mark.parametrize("way", ["torch", "native"])
def test_layout_and_precision_of_the_views(way: Any) -> None:
    policy, images = presets.simclr(24), make_images((32, 32))
    draw = policy.sample(Stream.of(torch.arange(6), "draw"), (32, 32))
    plain = render(policy, images, draw, way)
    last = render(policy, images, draw, way, channels_last=True)
    assert last.is_contiguous(memory_format=torch.channels_last) and torch.equal(last, plain)
    half = render(policy, images, draw, way, dtype=torch.bfloat16)
    assert torch.equal(half, plain.bfloat16())


@pytest.mark.parametrize("channels_last", [False, True])
def test_memory_in_huge_pages_is_like_any_other(
    channels_last: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy, images = presets.simclr(24), make_images((32, 32))
    draw = policy.sample(Stream.of(torch.arange(6), "draw"), (32, 32))
    plain = [render(policy, images, draw, way, channels_last=channels_last) for way in AVAILABLE]
    monkeypatch.setattr(memory, "_LARGE", 0)
    for way, wanted in zip(AVAILABLE, plain, strict=True):
        made = render(policy, images, draw, way, channels_last=channels_last)
        assert torch.equal(made, wanted) and made.stride() == wanted.stride()
        torch.save(made, tmp_path / "views")
        del made
        assert torch.equal(torch.load(tmp_path / "views"), wanted)


@pytest.mark.parametrize("size", [24, 160])
def test_views_have_memory_of_their_own(size: int) -> None:
    images = make_images((size, size), 2, torch.float32)
    for step in (HorizontalFlip(0.0), Pipeline((ColorJitter(p=0.0), GaussianBlur(5, p=0.0)))):
        draw = step.sample(Stream.of(torch.arange(2), "draw"), (size, size))
        before = images.clone()
        render(step, images, draw).zero_()
        assert torch.equal(images, before)


def test_large_images_one_by_one_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, images = presets.equimod_byol(2, 24), make_images((40, 33), 12)
    draw = policy.sample(Stream.of(torch.arange(12), "draw"), (40, 33))
    together = render(policy, images, draw)
    monkeypatch.setattr(batched, "_LARGE_IMAGE", 1)
    assert torch.equal(render(policy, images, draw), together)


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, images = presets.simclr(24), make_images((32, 32), 7)
    draw = policy.sample(Stream.of(torch.arange(7), "draw"), (32, 32))
    whole = policy.apply(images.float() / 255, draw)
    monkeypatch.setattr(engine, "_MAX_CHUNK_NUMEL", 3 * 32 * 32 * 2)
    assert torch.equal(render(policy, images, draw), whole)


@pytest.mark.parametrize("name", ["cifar", "equimod-byol"])
def test_a_policy_is_one_graph(name: str) -> None:
    """``fullgraph`` fails where anything must be read back, so nothing waits for a GPU either."""
    policy, source = POLICIES[name]
    images = make_images((source, source))
    draw = policy.sample(Stream.of(torch.arange(6), "draw"), (source, source))
    step = functools.partial(engine._apply, policy)
    graph = torch.compile(step, fullgraph=True, dynamic=False, backend="eager")
    torch.testing.assert_close(graph(images, draw), step(images, draw), atol=1e-6, rtol=0)


def test_without_a_compiler_auto_is_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_library", lambda: "there is no C compiler")
    with pytest.warns(UserWarning, match="augmentations run on torch"):
        assert resolve_engine("auto") == "torch"
    images = make_images((32, 32))
    draw = HorizontalFlip().sample(Stream.of(torch.arange(6), "draw"), (32, 32))
    with pytest.raises(UserError, match="C compiler"):
        render(HorizontalFlip(), images, draw, "native")


def test_unknown_engine() -> None:
    images = make_images((32, 32))
    draw = Identity().sample(Stream.of(torch.arange(6), "draw"), (32, 32))
    with pytest.raises(ValueError, match="engine must be one of auto, torch, native, compile, got 'fast'"):
        render(Identity(), images, draw, "fast")  # type: ignore[arg-type]


@needs_compiler
def test_colour_needs_three_channels() -> None:
    images = torch.rand(2, 1, 8, 8)
    draw = Grayscale(1.0).sample(Stream.of(torch.arange(2), "draw"), (8, 8))
    for way in ("torch", "native"):
        with pytest.raises(ValueError, match="3 channels"):
            render(Grayscale(1.0), images, draw, way)  # type: ignore[arg-type]


WAYS = ["torch", pytest.param("native", marks=needs_compiler)]


@pytest.mark.parametrize("way", WAYS)
def test_a_record_of_other_images_is_refused(way: Any) -> None:
    images = make_images((32, 32), 8)
    draw = RandomResizedCrop(16).sample(Stream.of(torch.arange(3), "draw"), (32, 32))
    with pytest.raises(ValueError, match="parameters of 3 images cannot be applied to 8"):
        render(RandomResizedCrop(16), images, draw, way)
    elsewhere = draw.to("meta")
    with pytest.raises(ValueError, match="the parameters are on meta"):
        render(RandomResizedCrop(16), images[:3], elsewhere, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "box", [(0.5, 0.0, 0.6, 1.0), (0.0, -0.1, 1.0, 0.5), (0.0, 0.0, math.nan, 1.0), (0.0, 0.0, 0.0, 1.0)]
)
def test_a_box_outside_the_image_is_refused(way: Any, box: tuple[float, ...]) -> None:
    crop, images = RandomResizedCrop(16), make_images((32, 32), 2)
    names = ("crop_top", "crop_left", "crop_height", "crop_width")
    values = {n: torch.tensor([[v], [v]], dtype=torch.float32) for n, v in zip(names, box, strict=True)}
    with pytest.raises(ValueError, match=r"image 0 .* does not lie within"):
        render(crop, images, Params.of(crop.space, values), way)


@pytest.mark.parametrize("way", WAYS)
def test_precision_of_the_result(way: Any) -> None:
    images = make_images((16, 16))
    draw = GaussianBlur(3).sample(Stream.of(torch.arange(6), "draw"), (16, 16))
    single = render(GaussianBlur(3), images, draw, way)
    assert torch.equal(render(GaussianBlur(3), images, draw, way, dtype=torch.float16), single.half())
    assert render(GaussianBlur(3), images / 255.0, draw, way, dtype=torch.float64).dtype == torch.float64
    assert render(GaussianBlur(3), (images / 255.0).double(), draw, way).dtype == torch.float64
    half = (images / 255.0).bfloat16()
    assert torch.equal(
        render(GaussianBlur(3), half, draw, way), render(GaussianBlur(3), half.float(), draw, way)
    )
    with pytest.raises(ValueError, match="floating"):
        render(GaussianBlur(3), images, draw, way, dtype=torch.uint8)


@needs_compiler
def test_the_mean_of_a_large_image_does_not_drift() -> None:
    images = torch.full((1, 3, 1024, 1024), 77, dtype=torch.uint8)
    jitter = ColorJitter(p=1.0)
    values = dict(jitter.space.neutral(1).values) | {"contrast": torch.tensor([[0.2]])}
    made = render(jitter, images, Params.of(jitter.space, values), "native")
    grey = 77 / 255
    exact = 0.2 * grey + 0.8 * (0.2989 + 0.587 + 0.114) * grey
    torch.testing.assert_close(made, torch.full_like(made, exact), atol=1e-6, rtol=0)


@pytest.mark.parametrize("way", WAYS)
def test_any_number_of_channels_and_no_image_at_all(way: Any) -> None:
    one = Normalize((0.5,), (0.25,))
    draw = one.sample(Stream.of(torch.arange(2), "draw"), (4, 4))
    torch.testing.assert_close(render(one, torch.ones(2, 1, 4, 4), draw, way), torch.full((2, 1, 4, 4), 2.0))
    with pytest.raises(ValueError, match="argument 3 is shorter"):
        render(one, torch.ones(2, 3, 4, 4), draw, way)
    none = RandomResizedCrop(8).sample(Stream.of(torch.arange(0), "draw"), (16, 16))
    assert render(RandomResizedCrop(8), make_images((16, 16))[:0], none, way).shape == (0, 3, 8, 8)


@needs_compiler
def test_a_forked_process_has_its_own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    images = make_images((32, 32), 32)
    draw = HorizontalFlip().sample(Stream.of(torch.arange(32), "draw"), (32, 32))
    render(HorizontalFlip(), images, draw, "native")
    child = os.fork()
    if child == 0:
        render(HorizontalFlip(), images, draw, "native")
        os._exit(0)
    for _ in range(100):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert done and status == 0


def test_a_class_that_occurs_twice_draws_twice() -> None:
    twice = Pipeline((Prefixed(Rotate(), "a_"), Prefixed(Rotate(), "b_"), Pipeline((HorizontalFlip(),))))
    draw = twice.sample(Stream.of(torch.arange(50), "draw"), (8, 8))
    assert not torch.equal(draw.values["a_rotation"], draw.values["b_rotation"])
