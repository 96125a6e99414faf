"""Native code gives the same bits with every instruction set of the processor, and on every machine."""

from __future__ import annotations

import hashlib

import pytest
import torch
from torch import Tensor

from equissl.augment import (
    CIFAR10,
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Invert,
    Pipeline,
    RandomResizedCrop,
    Solarize,
    VerticalFlip,
    native,
    native_compile,
)
from equissl.augment.base import Augmentation
from equissl.augment.engine import render
from equissl.params import Params
from equissl.random import Stream

pytestmark = pytest.mark.skipif(not native.available(), reason="needs a C compiler")

ORDER = tuple(native_compile.instruction_sets())
# A processor that has one has those after it.
HERE = ORDER[ORDER.index(native.instruction_set()) :]
STEPS: tuple[Augmentation, ...] = (
    RandomResizedCrop(40),
    RandomResizedCrop(75, interpolation="bicubic"),
    HorizontalFlip(),
    VerticalFlip(),
    ColorJitter(0.8, 0.8, 0.8, 0.5, p=1.0),
    Grayscale(0.5),
    Solarize(p=0.5),
    Invert(),
    GaussianBlur(23, p=1.0),
    CIFAR10,
)
POLICIES = (*STEPS, Pipeline(STEPS[1:]))
DIGEST = "d2707b9ed7cb64aa"  # of the views of test_the_bits_are_those_of_every_other_machine


def make_images(dtype: torch.dtype) -> Tensor:
    """Noise of integer arithmetic, with a grey image and one of extremes: (8, 3, 50, 67)."""
    index = torch.arange(8 * 3 * 50 * 67)
    values = ((index * 2654435761 % 2**32) >> 24).view(8, 3, 50, 67)
    values[0] = values[0, :1]
    values[1] = values[1] // 128 * 255
    return values.to(torch.uint8) if dtype == torch.uint8 else values / 255


def test_every_kind_of_step_is_covered() -> None:
    draws = [step.sample(Stream.of(torch.arange(2), "draw"), (50, 67)) for step in STEPS]
    steps = [step.native(draw) for step, draw in zip(STEPS, draws, strict=True)]
    assert {step.kind for step in steps if step} == set(native.KINDS)


@pytest.mark.parametrize("instruction_set", HERE[1:])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16], ids=str)
def test_every_instruction_set_gives_the_same_bits(
    instruction_set: str, dtype: torch.dtype, stored: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = make_images(dtype)
    draws = [policy.sample(Stream.of(torch.arange(8), "draw"), (50, 67)) for policy in POLICIES]

    def views(name: str, channels_last: bool) -> list[Tensor]:
        monkeypatch.setattr(native, "instruction_set", lambda: name)
        assert native.available(), native.unavailable_reason()
        pairs = zip(POLICIES, draws, strict=True)
        return [render(p, images, d, "native", stored, channels_last) for p, d in pairs]

    for channels_last in (False, True):
        pairs = zip(views(HERE[0], channels_last), views(instruction_set, channels_last), strict=True)
        for policy, (best, other) in zip(POLICIES, pairs, strict=True):
            bits = torch.int16 if stored == torch.bfloat16 else torch.int32  # -0.0 is not 0.0, nor NaN NaN
            assert torch.equal(best.view(bits), other.view(bits)), policy


def test_the_bits_are_those_of_every_other_machine() -> None:
    """From given values, without a sample, whose logarithms are rounded by the C library."""
    values = {
        "crop_top": 0.125, "crop_left": 0.0625, "crop_height": 0.7, "crop_width": 0.6, "horizontal_flip": 1.0,
        "brightness": 1.3, "contrast": 0.7, "saturation": 1.2, "hue": 0.11, "blur_sigma": 1.7,
    }  # fmt: skip
    policy = Pipeline((RandomResizedCrop(75), HorizontalFlip(), ColorJitter(), GaussianBlur(23), CIFAR10))
    space = policy.sample(Stream.of(torch.arange(1), "draw"), (50, 67)).space
    given = {name: torch.full((8, 1), value) for name, value in values.items()}
    draw = Params.of(space, dict(space.neutral(8).values) | given)
    views = render(policy, make_images(torch.uint8), draw, "native")
    assert hashlib.sha256(views.numpy().tobytes()).hexdigest()[:16] == DIGEST


def test_the_choice_is_the_one_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, expected in (("AVX2", "avx2"), ("DEFAULT", "baseline"), ("NO AVX", "baseline")):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda given=capability: given)
        monkeypatch.setattr(native_compile.platform, "machine", lambda: "x86_64")
        assert native.instruction_set() == expected
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "SVE256")
    monkeypatch.setattr(native_compile.platform, "machine", lambda: "aarch64")
    assert native.instruction_set() == "baseline"
    assert native_compile.instruction_sets() == {"baseline": ()}
