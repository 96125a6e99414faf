"""Fields that make no sense are refused; closed forms and the tables of the papers."""

from __future__ import annotations

import colorsys
import math
from itertools import permutations
from typing import Any

import pytest
import torch

from equissl.augment import (
    SE2,
    Affine,
    Augmentation,
    AugMix,
    AutoContrast,
    BlurLevels,
    ChannelPermutation,
    ColorJitter,
    Equalize,
    FullOrbit,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    HalfSwap,
    HorizontalFlip,
    Invert,
    Jigsaw,
    Normalize,
    Operation,
    Perspective,
    Pipeline,
    Posterize,
    QuarterTurn,
    QuarterTurns,
    RandAugment,
    RandomElement,
    RandomErasing,
    RandomResizedCrop,
    Resize,
    Rotate,
    Scale,
    Sharpness,
    Shear,
    Solarize,
    SolarizeLevels,
    SolarizeThreshold,
    Translate,
    presets,
    replay,
)
from equissl.augment.color.color_jitter import SCHEDULE
from equissl.augment.engine import Engine, render
from equissl.augment.equimod_params import equimod_statistics, equimod_vector
from equissl.params import Binary, Params, Real, Space
from equissl.random import Stream

NEW = (Affine, SE2, Scale, Shear, Perspective, RandomErasing, ChannelPermutation, Gamma, Posterize, Sharpness)
NEW += (AutoContrast, Equalize, SolarizeThreshold, GaussianNoise, RandAugment, AugMix)
REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (RandomResizedCrop, {"size": 0}, r"RandomResizedCrop.size must be at least 1, got 0"),
    (RandomResizedCrop, {"size": 8, "scale": (0.0, 1.0)}, r"Crop.scale must .* above 0, at most 1, got"),
    (RandomResizedCrop, {"size": 8, "scale": (0.5, 1.5)}, "RandomResizedCrop.scale"),
    (RandomResizedCrop, {"size": 8, "scale": (0.9, 0.5)}, "RandomResizedCrop.scale"),
    (RandomResizedCrop, {"size": 8, "ratio": (0.0, 1.0)}, "RandomResizedCrop.ratio"),
    (RandomResizedCrop, {"size": 8, "interpolation": "nearest"}, "Crop.interpolation='nearest' does not"),
    (Resize, {"size": 8, "short_side": 7}, "Resize.short_side must be at least 8, got 7"),
    (GaussianBlur, {"sigma": (-0.1, 2.0)}, r"GaussianBlur.sigma must be .* at least 0, .* got \(-0.1"),
    (GaussianBlur, {"sigma": (2.0, 1.0)}, "GaussianBlur.sigma"),
    (GaussianBlur, {"sigma": (0.0, math.nan)}, "GaussianBlur.sigma must be a tuple of 2 numbers"),
    (GaussianBlur, {"kernel_size": 4}, "GaussianBlur.kernel_size must be odd, got 4"),
    (GaussianBlur, {"kernel_size": -3}, "GaussianBlur.kernel_size must be at least 1"),
    (ColorJitter, {"hue": 0.6}, "ColorJitter.hue must be between 0 and 0.5, got 0.6"),
    (ColorJitter, {"hue": -0.1}, "ColorJitter.hue"),
    (ColorJitter, {"contrast": -1}, "ColorJitter.contrast must be at least 0, got -1"),
    (Rotate, {"degrees": (30, -30)}, "Rotate.degrees"),
    (Rotate, {"padding_mode": "white"}, "Rotate.padding_mode='white' does not exist"),
    (Translate, {"translate": 1.5}, "Translate.translate must be between 0 and 1, got 1.5"),
    (Solarize, {"threshold": 128}, "Solarize.threshold must be between 0 and 1, got 128"),
    (BlurLevels, {"kernel_sizes": ()}, "BlurLevels.kernel_sizes must hold at least one level"),
    (BlurLevels, {"kernel_sizes": (4,)}, "kernel_size must be odd, got 4"),
    (SolarizeLevels, {"thresholds": (170.0,)}, "threshold must be between 0 and 1, got 170"),
    (FullOrbit, {"augmentation": ColorJitter()}, "brightness is continuous"),
    (FullOrbit, {"augmentation": Resize(8)}, "Resize has no factors"),
    (RandomElement, {"augmentation": Rotate()}, "rotation is continuous"),
    (RandomElement, {"augmentation": Invert(), "p": 2.0}, "RandomElement.p"),
    (Normalize, {"std": (0.2, 0.0, 0.2)}, "Normalize.std must be above 0"),
    (Normalize, {"std": (0.2, 0.2)}, "one mean and std per channel"),
    (Pipeline, {"steps": (GaussianBlur,)}, "Pipeline.steps must be a tuple of values, each Augmentation"),
    (GaussianBlur, {"sigma": 2.0}, "GaussianBlur.sigma must be a tuple of 2 numbers, got 2.0"),
    (GaussianBlur, {"sigma": (0.1, 1.0, 2.0)}, "GaussianBlur.sigma must be a tuple of 2 numbers"),
    (HorizontalFlip, {"p": "0.5"}, "HorizontalFlip.p must be a number, got '0.5'"),
    (Affine, {"scale": (0.0, 1.0)}, r"Affine.scale must be .* above 0, .* got \(0.0, 1.0\)"),
    (Affine, {"translate": 0.1}, "Affine.translate must be a tuple of 2 numbers, got 0.1"),
    (Affine, {"translate": (0.1, 1.1)}, "Affine.translate must be between 0 and 1, got 1.1"),
    (Affine, {"degrees": (0.0, 720.0)}, "Affine.degrees must be .* at most 360"),
    (Affine, {"shear_x": (0.2, -0.2)}, "Affine.shear_x must be a range"),
    (Affine, {"shear_y": (0.0, math.inf)}, "Affine.shear_y"),
    (SE2, {"translate": -0.1}, "SE2.translate must be between 0 and 1, got -0.1"),
    (SE2, {"degrees": (20, 10)}, "SE2.degrees"),
    (SE2, {"padding_mode": "edge"}, "SE2.padding_mode='edge' does not exist"),
    (Scale, {"scale": (1.5, 0.5)}, "Scale.scale"),
    (Scale, {"scale": (-1.0, 0.5)}, r"Scale.scale must be .* above 0"),
    (Shear, {"shear_x": (0.3, -0.3)}, r"Shear.shear_x must be a range .* got \(0.3, -0.3\)"),
    (Shear, {"shear_y": (math.nan, 0.0)}, "Shear.shear_y"),
    (Perspective, {"distortion_scale": 0.9}, "distortion_scale must be between 0 and 0.6, got 0.9"),
    (RandomErasing, {"scale": (0.0, 0.3)}, "RandomErasing.scale must be .* above 0"),
    (RandomErasing, {"ratio": (3.0, 0.3)}, "RandomErasing.ratio"),
    (RandomErasing, {"value": (0.5, 2.0, 0.5)}, "RandomErasing.value must be between 0 and 1, got 2"),
    (RandomErasing, {"value": 0.5}, "RandomErasing.value must be a tuple of numbers, got 0.5"),
    (Gamma, {"gamma": (0.0, 1.0)}, "Gamma.gamma must be .* above 0"),
    (Posterize, {"bits": (3, 9)}, "Posterize.bits must be .* at most 8"),
    (Posterize, {"bits": (3.5, 4)}, "Posterize.bits must be a tuple of 2 integers, got"),
    (Sharpness, {"sharpness_factor": (-0.5, 1.0)}, "Sharpness.sharpness_factor must be .* at least 0"),
    (SolarizeThreshold, {"threshold": (0.0, 255.0)}, "SolarizeThreshold.threshold must be .* at most 1"),
    (GaussianNoise, {"sigma": (-0.1, 0.1)}, "GaussianNoise.sigma must be .* at least 0"),
    (RandAugment, {"num_ops": 0}, "RandAugment.num_ops must be at least 1, got 0"),
    (RandAugment, {"num_ops": 1.5}, "RandAugment.num_ops must be an integer, got 1.5"),
    (RandAugment, {"magnitude": (0, 9)}, "RandAugment.magnitude must be .* at most 1"),
    (RandAugment, {"operations": ()}, "RandAugment.operations must be a tuple of operations"),
    (RandAugment, {"operations": (Rotate(),)}, "RandAugment.operations must be .* each Operation"),
    (AugMix, {"mixture_width": 0}, "AugMix.mixture_width must be at least 1, got 0"),
    (AugMix, {"chain_depth": (3, 1)}, "AugMix.chain_depth"),
    (AugMix, {"chain_depth": (1, 2.5)}, "AugMix.chain_depth must be a tuple of 2 integers, got"),
    (AugMix, {"alpha": 0.0}, "AugMix.alpha must be at least 0.1, got 0"),
    *((Operation, {"augmentation": a, "factor": factor, "start": 0, "end": 1}, message)
      for a, factor, message in (
          (ColorJitter(), "huee", "ColorJitter has no factor 'huee'; did you mean 'hue'"),
          (SE2(), "motion", "must consist of one number, 'motion' does not"),
          (RandomResizedCrop(8), "crop_top", "must keep the size of images, RandomResizedCrop does not"))),
    *((c, {"p": p}, f"{c.__name__}.p must be between 0 and 1, got {p}")
      for c in (HorizontalFlip, ColorJitter, GaussianBlur, Solarize, Invert, Rotate, Translate, QuarterTurn,
                Jigsaw, HalfSwap, BlurLevels, SolarizeLevels, *NEW)
      for p in (-0.1, 1.01)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields", "message"), REFUSED)
def test_impossible_policies_are_refused(kind: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**fields)


def test_a_record_without_a_factor_is_refused() -> None:
    images = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"Blur reads 'blur_sigma', .* lacks; did you mean 'blur"):
        replay(GaussianBlur(3), images, {"blur_sigm": torch.ones(2, 1)})
    with pytest.raises(ValueError, match="blur_sigma has 3 rows for 2 images"):
        replay(GaussianBlur(3), images, {"blur_sigma": torch.ones(3, 1)})


def test_images_with_other_channels_are_refused() -> None:
    for augmentation in (ChannelPermutation(), RandomErasing(value=(0.1, 0.2, 0.3))):
        draw = augmentation.sample(Stream.of(torch.arange(2)), (8, 8))
        with pytest.raises(ValueError, match="channels"):
            augmentation.apply(torch.rand(2, 2, 8, 8), draw)


def test_quarter_turns_need_a_square() -> None:
    with pytest.raises(ValueError, match="square images, got 8x9"):
        QuarterTurn().sample(Stream.of(torch.arange(2)), (8, 9))
    with pytest.raises(ValueError, match="square"):
        QuarterTurns().expand(torch.rand(2, 3, 8, 9), Params.of(Space(), {}, count=2))


def test_every_order_is_part_of_the_schedule() -> None:
    for order in permutations(range(4)):
        steps = iter(SCHEDULE)
        assert all(any(step == wanted for step in steps) for wanted in order), order


def moments(augmentation: Augmentation, count: int = 20_000) -> dict[str, tuple[torch.Tensor, ...]]:
    draw = augmentation.sample(Stream.of(torch.arange(count), "policy"), (64, 64))
    values = {n: v.double() for n, v in draw.values.items()}
    error = {n: (v.std(0) / count**0.5, v.square().std(0) / count**0.5) for n, v in values.items()}
    return {n: (v.mean(0), v.square().mean(0), *error[n]) for n, v in values.items()}


def test_draws_have_the_moments_of_the_paper_s_appendix() -> None:
    p, s, h, low, high = 0.8, 0.4, 0.1, 0.1, 2.0
    jitter = ColorJitter(s, s, s, h, p=p)
    wanted: dict[str, tuple[float, float]] = dict.fromkeys(
        ("brightness", "contrast", "saturation"), (1.0, 1 + p * s**2 / 3)
    )
    wanted["hue"] = (0.0, p * h**2 / 3)
    wanted["horizontal_flip"] = (0.5, 0.5)
    wanted["blur_sigma"] = (0.3 * (low + high) / 2, 0.3 * (high**3 - low**3) / (3 * (high - low)))
    pipeline = Pipeline((HorizontalFlip(), jitter, GaussianBlur(3, (low, high), p=0.3)))
    drawn, closed = moments(pipeline), pipeline.moments()
    for name, pair in wanted.items():
        first, second, first_error, second_error = drawn[name]
        torch.testing.assert_close(closed[name][0], torch.tensor([pair[0]], dtype=torch.float64))
        torch.testing.assert_close(closed[name][1], torch.tensor([pair[1]], dtype=torch.float64))
        assert abs(first - pair[0]) < 3 * first_error, name
        assert abs(second - pair[1]) < 3 * second_error, name
    for k in range(4):
        first, second = closed["color_order"]
        assert first[k] == pytest.approx(1.5 * p + (1 - p) * k)
        assert second[k] == pytest.approx(3.5 * p + (1 - p) * k**2)
        assert abs(drawn["color_order"][0][k] - first[k]) < 3 * drawn["color_order"][2][k]


@pytest.mark.parametrize(
    "augmentation",
    [
        RandomResizedCrop(8),
        RandomResizedCrop(8, (0.2, 1), p=0.3),
        ColorJitter(1.5, 0.1, 0, 0.2),
        GaussianBlur(3),
        Translate(0.2),
        Affine(p=0.4),
        Scale((0.3, 1.2)),
        Shear(),
        Perspective(),
        RandomErasing(),
        Gamma(),
        Posterize(),
        Sharpness((0.5, 4.0)),
        SolarizeThreshold(),
        GaussianNoise(),
        RandAugment(magnitude=(0.1, 0.9)),
        AugMix(),
    ],
)
def test_scales_make_encodings_of_order_one(augmentation: Augmentation) -> None:
    draw = augmentation.sample(Stream.of(torch.arange(20_000), "scales"), (64, 64))
    for factor in augmentation.space:
        if isinstance(factor, Real):
            square = factor.encode(draw.values[factor.name]).square().mean()
            constant = (draw.values[factor.name] == factor.neutral_value).all()
            assert square == (0 if constant else pytest.approx(1, abs=0.05)), factor


def test_equimod_statistics_follow_from_the_policy() -> None:
    published = (4.3122, 4.3216, 23.369, 23.374, 0.49998, 0.80087, 1.2025, 1.4007, 1.5964, 1.8004)
    published += (0.99993, 1.0002, 0.99986, 2.2e-7, 0.19965)
    deviation = (3.9740, 3.9851, 4.9544, 4.9539, 0.5, 0.3993, 1.1651, 1.0210, 1.0200, 1.1669)
    deviation += (0.2066, 0.2068, 0.2066, 0.0517, 0.3997)
    mean, std = equimod_statistics([presets.equimod_simclr_cifar10()], (32, 32), 15)
    # Both are estimates, of 65,536 and of 50,000 boxes: standard errors 0.4 % each.
    assert mean[:4] == pytest.approx(published[:4], rel=0.01)
    assert std[:4] == pytest.approx(deviation[:4], rel=0.01)
    assert mean[4:] == pytest.approx(published[4:], abs=5e-3)
    assert std[4:] == pytest.approx(deviation[4:], abs=3e-3)


def test_equimod_statistics_are_of_the_size_given() -> None:
    """Boxes of a wide source are not those of a square."""
    crop = RandomResizedCrop(8, scale=(0.2, 1.0))
    draw = crop.sample(Stream.of(torch.arange(20_000), "size"), (12, 40))
    mean, std = equimod_statistics([Pipeline((crop, HorizontalFlip()))], (12, 40), 15)
    for column, (name, pixels) in enumerate(zip(crop.space.names, (12, 40, 12, 40), strict=True)):
        boxes = draw.values[name][:, 0].double() * pixels
        assert mean[column] == pytest.approx(float(boxes.mean()), rel=0.03)
        assert std[column] == pytest.approx(float(boxes.std()), rel=0.03)


@pytest.mark.parametrize(
    "views",
    [
        [Pipeline((HorizontalFlip(), ColorJitter()))],
        [Pipeline((RandomResizedCrop(8), HorizontalFlip()))],
        [Pipeline((RandomResizedCrop(8), ColorJitter(p=0.3))), RandomResizedCrop(8)],
    ],
    ids=["no crop", "no jitter", "jitter in one view"],
)
def test_equimod_statistics_are_of_the_vector_whatever_a_policy_lacks(views: list[Augmentation]) -> None:
    """What a policy lacks counts as not applied: the whole image, and operations in their own order."""
    index, size = torch.arange(20_000), (12, 40)
    draws = [view.sample(Stream.of(index, "vector", k), size) for k, view in enumerate(views)]
    vectors = torch.cat([equimod_vector(draw, *size, 18) for draw in draws]).double()
    mean, std = (torch.tensor(numbers) for numbers in equimod_statistics(views, size, 18))
    deviation = vectors.std(0)
    scale = torch.where(deviation > 1e-6, deviation, 1.0)
    assert vectors.shape[1] == len(mean) == len(std) == 18
    assert float(((mean - vectors.mean(0)) / scale).abs().max()) < 0.04
    assert float((std / scale - 1).abs().max()) < 0.04


@pytest.mark.parametrize("channels", [1, 4])
def test_saturation_needs_three_channels(channels: int) -> None:
    for space in ("rgb", "hsv"):
        jitter = ColorJitter(0.0, 0.0, 0.4, 0.0, p=1.0, saturation_space=space)  # type: ignore[arg-type]
        draw = jitter.sample(Stream.of(torch.arange(4)), (8, 8))
        with pytest.raises(ValueError, match=f"3 channels, got {channels}"):
            jitter.apply(torch.rand(4, channels, 8, 8), draw)


def test_a_strength_of_zero_records_the_neutral_value() -> None:
    draw = ColorJitter(0, 0.4, 0, 0.0, p=1.0).sample(Stream.of(torch.arange(50)), (8, 8))
    for name, rest in (("brightness", 1), ("saturation", 1), ("hue", 0)):
        assert (draw.values[name] == rest).all()
    assert draw.values["contrast"].std() > 0.1


def test_a_jitter_is_applied_as_a_whole_and_in_all_orders() -> None:
    draw = ColorJitter().sample(Stream.of(torch.arange(2000)), (8, 8))
    flags = torch.stack(list(draw.applied.values()))
    assert (flags == flags[0]).all()
    assert 0.77 < float(flags[0].float().mean()) < 0.83
    assert len(draw.values["color_order"][flags[0]].unique(dim=0)) == 24


def test_presets_are_the_tables_of_the_papers() -> None:
    flip = HorizontalFlip(0.5)
    assert presets.equimod_simclr_cifar10().steps[:3] == (
        RandomResizedCrop(32, (0.2, 1.0), (3 / 4, 4 / 3), "bicubic"),
        flip,
        ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
    )
    imagenet = presets.equimod_simclr_imagenet()
    assert imagenet.steps[0] == RandomResizedCrop(224, (0.08, 1.0), interpolation="bicubic")
    assert imagenet.steps[2:][0] == ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8)
    assert imagenet.steps[-1] == GaussianBlur(23, (0.1, 2.0), p=0.5)
    first, second = presets.equimod_byol(1), presets.equimod_byol(2)
    assert first.steps[-2:] == (GaussianBlur(3, (0.1, 2.0), 1.0), Solarize(p=0.0))
    assert second.steps[-2:] == (GaussianBlur(3, (0.1, 2.0), 0.1), Solarize(p=0.2))
    assert first.steps[2] == ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8)
    assert first.space.names == second.space.names
    assert presets.equimod_byol(1, 224).steps[-2] == GaussianBlur(23, (0.1, 2.0), 1.0)
    stl = presets.augself_stl10()
    assert stl.steps[0] == RandomResizedCrop(96, (0.2, 1.0)) and stl.steps[-1] == GaussianBlur(
        9, (0.1, 2.0), 0.5
    )
    assert presets.augself_imagenet100().steps[-1] == GaussianBlur(23, (0.1, 2.0), 0.5)
    for ours, theirs in (
        (stl, presets.augself_stl10(kornia=True)),
        (presets.augself_imagenet100(), presets.augself_imagenet100(kornia=True)),
    ):
        jitter = ColorJitter(0.4, 0.4, 0.4, 0.1, saturation_space="hsv", shared_order=True)
        assert theirs.steps == (*ours.steps[:2], jitter, *ours.steps[3:])


def test_a_batch_with_one_order_of_the_jitter() -> None:
    """That of its first image; nothing else of a draw changes."""
    stream = Stream.of(torch.arange(64), "order")
    own, shared = (ColorJitter(p=1.0, shared_order=s).sample(stream, (8, 8)) for s in (False, True))
    orders = [len(draw.values["color_order"].unique(dim=0)) for draw in (own, shared)]
    assert orders[0] > 15 and orders[1] == 1
    assert torch.equal(shared.values["color_order"][0], own.values["color_order"][0])
    for name in ("brightness", "contrast", "saturation", "hue"):
        assert torch.equal(shared.values[name], own.values[name])
    some = ColorJitter(shared_order=True).sample(stream, (8, 8))
    off = ~some.applied["color_order"]
    assert 0 < int(off.sum()) < 64 and len(some.values["color_order"][~off].unique(dim=0)) == 1


@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_saturation_in_hsv(engine: Engine) -> None:
    """The HSV saturation is multiplied; hue and value stay, and nothing goes beyond a saturation of 1."""
    stream = Stream.of(torch.arange(6), "hsv")
    images = stream.uniform("pixels", 3 * 25).view(6, 3, 5, 5)
    factors = torch.tensor([0.0, 0.5, 0.9, 1.1, 1.5, 9.0])[:, None]
    record = Params.of(
        ColorJitter().space,
        {
            **{n: torch.full((6, 1), v) for n, v in (("brightness", 1.0), ("contrast", 1.0), ("hue", 0.0))},
            "saturation": factors,
            "color_order": torch.arange(4.0).expand(6, 4),
        },
    )
    found = render(ColorJitter(saturation_space="hsv"), images, record, engine)
    for image, factor, view in zip(images, factors, found, strict=True):
        for before, after in zip(image.flatten(1).T.tolist(), view.flatten(1).T.tolist(), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*before)
            wanted = colorsys.hsv_to_rgb(hue, min(saturation * float(factor), 1.0), value)
            assert after == pytest.approx(wanted, abs=1e-6)
    assert presets.simclr(224).steps[-1] == GaussianBlur(23, (0.1, 2.0), 0.5)
    assert presets.simclr(32, strength=0.5, blur=0).steps[2] == ColorJitter(0.4, 0.4, 0.4, 0.1)
    with pytest.raises(ValueError, match="view must be 1 or 2, got 3"):
        presets.equimod_byol(3)  # type: ignore[arg-type]


def test_quarter_turns_orbit() -> None:
    images = torch.rand(3, 3, 6, 6)
    known = Params.of(
        Space((Binary("horizontal_flip"),)), {"horizontal_flip": torch.tensor([[1.0], [0], [1]])}
    )
    views, record = QuarterTurns().expand(images, known)
    assert record.space == known.space + QuarterTurns().space
    assert record.values["quarter_turns"][:, 0].tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert torch.equal(record.values["horizontal_flip"], known.values["horizontal_flip"].repeat(4, 1))
    for k in range(4):
        assert torch.equal(views[3 * k : 3 * k + 3], images.rot90(k, (2, 3)))
    single = QuarterTurn().apply(images.repeat(4, 1, 1, 1), record)
    assert torch.equal(single, views), "the augmentation and the orbit mean the same turns"
