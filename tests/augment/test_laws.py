"""Every augmentation keeps the laws; the laws catch augmentations that do not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from equissl.augment import (
    SE2,
    Affine,
    Augmentation,
    AugMix,
    AutoContrast,
    BlurLevels,
    ChannelPermutation,
    ColorJitter,
    EitherFlip,
    Equalize,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    Grayscale,
    HalfRoll,
    HalfSwap,
    HorizontalFlip,
    Identity,
    Invert,
    Jigsaw,
    Normalize,
    PatchMask,
    Perspective,
    Pipeline,
    Posterize,
    Prefixed,
    QuarterTurn,
    RandAugment,
    RandomElement,
    RandomErasing,
    RandomResizedCrop,
    Resize,
    Roll,
    Rotate,
    Scale,
    Sharpness,
    Shear,
    Solarize,
    SolarizeLevels,
    SolarizeThreshold,
    Translate,
    VerticalFlip,
    default_operations,
    presets,
)
from equissl.augment.moments import REFERENCE_SIZE
from equissl.augment.paths import PATHS
from equissl.augment.torchvision.from_torchvision import FromTorchvision
from equissl.config.registry import subclasses
from equissl.params import Params, Real, Space
from equissl.random import Stream
from equissl.testing.augment import check_augmentation

INSTANCES: tuple[Augmentation, ...] = (
    Identity(),
    RandomResizedCrop(24),
    RandomResizedCrop(15, interpolation="bicubic"),
    RandomResizedCrop(31, scale=(0.5, 0.6), ratio=(2.0, 3.0), p=0.5),
    Resize(16),
    Resize(16, short_side=20, interpolation="bicubic"),
    HorizontalFlip(),
    EitherFlip(),
    Roll(),
    Roll(0.5),
    HalfRoll(),
    VerticalFlip(0.3),
    QuarterTurn(),
    QuarterTurn(0.5),
    Rotate((-180, 180)),
    Rotate((10, 20), padding_mode="reflection", p=0.5),
    Translate(0.3),
    Translate(0.3, padding_mode="reflection", p=0.5),
    ColorJitter(),
    ColorJitter(0.8, 0.8, 0.8, 0.2, p=1.0),
    ColorJitter(0.8, 0.8, 0.8, 0.2, p=1.0, saturation_space="hsv"),
    ColorJitter(1.5, 0, 0, 0),
    ColorJitter(0, 0, 0, 0.5),
    Grayscale(),
    Solarize(),
    Invert(),
    GaussianBlur(5),
    GaussianBlur(23, p=1.0),
    Affine(),
    Affine((-180, 180), (0.3, 0.0), shear_y=(-0.2, 0.3), padding_mode="reflection", p=0.5),
    SE2(),
    SE2((10, 20), 0.3, padding_mode="reflection", p=0.5),
    Scale(),
    Scale((0.5, 1.0), padding_mode="reflection", p=0.5),
    Shear(),
    Shear((0.0, 0.5), (0.0, 0.0), padding_mode="reflection", p=0.5),
    Perspective(),
    Perspective(0.6, padding_mode="reflection", p=1.0),
    RandomErasing(),
    RandomErasing((0.1, 0.9), value=(0.2, 0.4, 0.6), p=1.0),
    ChannelPermutation(),
    ChannelPermutation(0.4),
    Gamma(),
    Gamma((1.0, 3.0), p=0.5),
    Posterize(),
    Posterize((0, 8), p=1.0),
    Sharpness(),
    Sharpness((2.0, 5.0), p=0.5),
    AutoContrast(),
    Equalize(),
    SolarizeThreshold(),
    SolarizeThreshold((0.2, 0.4), p=1.0),
    GaussianNoise(),
    GaussianNoise((0.2, 0.2), p=1.0),
    RandAugment(),
    RandAugment(3, (0.0, 1.0), p=0.5),
    AugMix(),
    AugMix(2, (2, 2), (0.0, 1.0), alpha=0.3, p=0.5),
    AugMix(1, (1, 4), alpha=3.0, operations=default_operations(padding_mode="reflection")),
    Jigsaw(),
    Jigsaw(0.3),
    HalfSwap(),
    BlurLevels(),
    BlurLevels((3,), p=0.5),
    SolarizeLevels(),
    RandomElement(QuarterTurn()),
    RandomElement(Jigsaw(), p=0.5),
    RandomElement(Pipeline((HorizontalFlip(), QuarterTurn()))),
    PatchMask(grid_size=4),
    PatchMask(grid_size=3, mask_ratio=(0.5, 1.0), p=1.0),
    Prefixed(Rotate(padding_mode="reflection")),
    Prefixed(GaussianBlur(5), "again_"),
    *PATHS.values(),
    Normalize(),
    FromTorchvision.example(),
    Pipeline(),
    presets.equimod_byol(2, size=24),
    presets.simclr(24, strength=0.5),
)


@pytest.mark.parametrize("augmentation", INSTANCES, ids=lambda a: repr(a)[:70])
def test_laws(augmentation: Augmentation) -> None:
    check_augmentation(augmentation)


@pytest.mark.parametrize("size", [(13, 18), (40, 9)])
def test_laws_on_oblong_images(size: tuple[int, int]) -> None:
    steps = (RandomResizedCrop(12), HorizontalFlip(), Rotate(), Translate(), GaussianBlur(7), ColorJitter())
    steps += (Affine(), SE2(), Perspective(), RandomErasing(), Sharpness(), Equalize(), GaussianNoise())
    for step in steps:
        check_augmentation(step, size)


def test_no_augmentation_is_left_out() -> None:
    known = {e.value for e in subclasses(Augmentation)}
    assert known == {type(a) for a in INSTANCES}
    for cls in known:
        check_augmentation(cls.example())


@pytest.mark.parametrize("count", [2, 9])
@pytest.mark.parametrize("threads", [1, 2])
def test_large_images_do_not_depend_on_neighbours_or_threads(count: int, threads: int) -> None:
    pipeline = presets.equimod_simclr_imagenet()
    stream = Stream.of(torch.arange(count), 0)
    images = stream.uniform("images", 3 * 70 * 90).view(count, 3, 70, 90)
    draw = pipeline.sample(stream, (70, 90))
    assert draw.applied["color_order"][0] and draw.applied["blur_sigma"].any()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole = pipeline.apply(images, draw)
        for k in (0, count - 1):
            assert torch.equal(pipeline.apply(images[k : k + 1], draw[torch.tensor([k])])[0], whole[k])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("augmentation", INSTANCES, ids=lambda a: repr(a)[:70])
def test_images_that_are_left_alone_keep_every_bit(augmentation: Augmentation) -> None:
    size = (24, 24)
    if augmentation.output_size(size) != size or isinstance(augmentation, Pipeline):
        return
    stream = Stream.of(torch.arange(64), 1)
    images = stream.uniform("images", 3 * 24 * 24, -0.2, 1.2).view(64, 3, 24, 24)
    draw = augmentation.sample(stream, size)
    if draw.applied:
        left = ~torch.stack(list(draw.applied.values())).any(0)
        assert torch.equal(augmentation.apply(images, draw)[left], images[left])


@pytest.mark.parametrize("augmentation", INSTANCES, ids=lambda a: repr(a)[:70])
def test_the_branch_free_path_of_a_gpu_gives_the_same(
    augmentation: Augmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream.of(torch.arange(16), 2)
    images = stream.uniform("images", 3 * 24 * 24).view(16, 3, 24, 24)
    draw = augmentation.sample(stream, (24, 24))
    wanted = augmentation.apply(images, draw)

    def everywhere(images: Tensor, chosen: Tensor, run: Callable[..., Tensor], *values: Tensor) -> Tensor:
        return torch.where(chosen[:, None, None, None], run(images, *values), images)

    for name, module in list(sys.modules.items()):
        if name.startswith("equissl.augment.") and hasattr(module, "overwrite"):
            monkeypatch.setattr(module, "overwrite", everywhere)
    assert torch.equal(augmentation.apply(images, draw), wanted)


@dataclass(frozen=True)
class Broken(Augmentation):
    """Shift brightness, with one law broken at will."""

    law: str = ""

    @property
    def space(self) -> Space:
        return Space((Real("shift"),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        shift = stream.uniform("shift")
        if self.law == "an image's draw does not depend on the others":
            shift = shift - shift.mean()
        applied = stream.chance("applied", 0.5)
        if self.law == "shift is neutral where it was not applied":
            return Params(self.space, {"shift": shift}, {"shift": applied}, len(stream))
        return Params.of(self.space, {"shift": shift}, applied)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        shift = params.values["shift"][..., None, None]
        match self.law:
            case "apply leaves its input as it was":
                return images.add_(shift)
            case "a record gives the view again":
                return images + shift * params.applied["shift"].all()
            case "an image alone comes out as it does in a batch":
                return images + shift * images.mean()
            case "the neutral draw changes nothing":
                return images + shift + 0.1
            case "output_size says":
                return images[:, :, 1:] + shift
            case "other augmentations' factors are not read":
                return images + shift * len(params.space)
        return images + shift

    def moments(self) -> dict[str, tuple[Tensor, Tensor]]:
        mean = 0.5 if self.law == "moment 1 of shift" else 0.25
        half = torch.tensor([0.5])
        return {"shift": (torch.tensor([mean]), half / 3), "shift/applied": (half, half)}


LAWS = (
    "an image's draw does not depend on the others",
    "shift is neutral where it was not applied",
    "apply leaves its input as it was",
    "a record gives the view again",
    "an image alone comes out as it does in a batch",
    "the neutral draw changes nothing",
    "output_size says",
    "other augmentations' factors are not read",
    "moment 1 of shift",
)


def test_the_laws_hold_for_a_sound_augmentation() -> None:
    check_augmentation(Broken())


@pytest.mark.parametrize("law", LAWS)
def test_a_broken_law_is_named(law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_augmentation(Broken(law))


def test_moments_are_simulated_where_none_are_given() -> None:
    simulated = Augmentation.moments(Broken())
    for name, (first, second) in Broken().moments().items():
        torch.testing.assert_close(simulated[name][0], first.double(), atol=0.01, rtol=0)
        torch.testing.assert_close(simulated[name][1], second.double(), atol=0.01, rtol=0)
    assert REFERENCE_SIZE[0] == REFERENCE_SIZE[1], "quarter turns need a square"


GPU_STEPS = (Affine(), SE2(), Perspective(), RandomErasing(), ChannelPermutation(), Gamma(), Sharpness())
GPU_STEPS += (AutoContrast(), GaussianNoise(), RandAugment(operations=default_operations()[:5]))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_apply_on_a_gpu_never_waits_and_agrees_with_the_cpu() -> None:
    pipeline = Pipeline((*presets.equimod_byol(2, 32).steps, Invert(), *GPU_STEPS))
    stream = Stream.of(torch.arange(40), 0)
    images = stream.uniform("images", 3 * 48 * 48).view(40, 3, 48, 48)
    draw = pipeline.sample(stream, (48, 48))
    there, record = images.cuda(), draw.to("cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        view = pipeline.apply(there, record)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(view.cpu(), pipeline.apply(images, draw), atol=5e-5, rtol=0)
    for k in (0, 17, 39):
        row = torch.tensor([k], device="cuda")
        assert torch.equal(pipeline.apply(there[row], record[row])[0], view[k])
