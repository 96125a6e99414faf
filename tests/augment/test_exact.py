"""Every augmentation against torchvision's functions for the parameters it recorded, at every size.

``uv run python tests/augment/test_exact.py`` prints the largest deviations: docs/augmentations.md has them.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode

from equissl.augment import (
    SE2,
    STL10,
    Affine,
    Augmentation,
    AugMix,
    AutoContrast,
    ChannelPermutation,
    ColorJitter,
    Equalize,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    Grayscale,
    HorizontalFlip,
    Identity,
    Invert,
    Perspective,
    Pipeline,
    Posterize,
    QuarterTurn,
    RandAugment,
    RandomErasing,
    RandomResizedCrop,
    Resize,
    Rotate,
    Scale,
    Sharpness,
    Shear,
    Solarize,
    SolarizeThreshold,
    Translate,
    VerticalFlip,
    default_operations,
    presets,
)
from equissl.config.registry import subclasses
from equissl.params import Params
from equissl.random import Stream

Row = dict[str, list[float]]
Reference = Callable[[Tensor, Row], Tensor]
SIZES = [(32, 32), (96, 96), (224, 224), (33, 47)]
COUNT = 4
BILINEAR = InterpolationMode.BILINEAR
CORNERS = ("top_left", "top_right", "bottom_right", "bottom_left")


def crop(side: int, interpolation: str) -> Reference:
    def reference(image: Tensor, row: Row) -> Tensor:
        height, width = image.shape[1:]
        sides = zip(("top", "left", "height", "width"), (height, width, height, width), strict=True)
        box = [round(row[f"crop_{name}"][0] * pixels) for name, pixels in sides]
        mode = InterpolationMode(interpolation)
        return tv.resized_crop(image, *box, [side, side], mode, antialias=True)

    return reference


def affine(image: Tensor, row: Row, side: tuple[int, int] | None = None) -> Tensor:
    """Any of the affine family, from the factors it has; torchvision's angle is clockwise, in degrees."""
    height, width = image.shape[1:]
    angle, right, down = row.get("motion", [0.0, 0.0, 0.0])
    short = min(height, width)
    shift = [right * short + width * first(row, "shift_x"), down * short + height * first(row, "shift_y")]
    shear = [math.degrees(math.atan(first(row, name))) for name in ("shear_x", "shear_y")]
    degrees = -math.degrees(angle + first(row, "rotation"))
    return tv.affine(image, degrees, shift, 2 ** first(row, "zoom"), shear, BILINEAR)


def first(row: Row, name: str) -> float:
    return row.get(name, [0.0])[0]


def perspective(image: Tensor, row: Row) -> Tensor:
    """Eight equations for the eight coefficients, in float64; torchvision's own solver is float32."""
    height, width = image.shape[1:]
    source = [(0, 0), (width, 0), (width, height), (0, height)]
    equations, results = [], []
    for corner, (u, v) in zip(CORNERS, source, strict=True):
        x, y = u + width * first(row, f"{corner}_x"), v + height * first(row, f"{corner}_y")
        equations += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        results += [u, v]
    coefficients = np.linalg.solve(np.array(equations, float), np.array(results, float)).tolist()
    return tv.perspective(image, None, None, BILINEAR, coefficients=coefficients)


def erased(image: Tensor, row: Row) -> Tensor:
    height, width = image.shape[1:]
    sides = zip(("top", "left", "height", "width"), (height, width, height, width), strict=True)
    box = [round(row[f"erase_{name}"][0] * pixels) for name, pixels in sides]
    return tv.erase(image, *box, torch.tensor([0.2, 0.4, 0.6], dtype=image.dtype)[:, None, None])


def resized(image: Tensor, row: Row) -> Tensor:
    return tv.center_crop(tv.resize(image, [28], antialias=True), [24])


def turned(image: Tensor, row: Row) -> Tensor:
    return tv.rotate(image, 90 * first(row, "quarter_turns"))


def solarized(image: Tensor, row: Row) -> Tensor:
    threshold = row.get("solarize_threshold", [128 / 255])[0]
    return tv.solarize(image, float(torch.tensor(threshold, dtype=image.dtype)))


def permuted(image: Tensor, row: Row) -> Tensor:
    return tv.permute_channels(image, [round(channel) for channel in row["channel_order"]])


def jittered(image: Tensor, row: Row) -> Tensor:
    steps = {
        "brightness": tv.adjust_brightness,
        "contrast": tv.adjust_contrast,
        "saturation": tv.adjust_saturation,
        "hue": tv.adjust_hue,
    }
    for place in row["color_order"]:
        name = list(steps)[round(place)]
        image = steps[name](image, row[name][0])
    return image


def operated(image: Tensor, number: float, magnitude: float, shift: float, bits: tuple[int, int]) -> Tensor:
    """One of RandAugment's operations, by its place in torchvision's list without the identity."""
    height, width = image.shape[1:]
    shear = [math.degrees(math.atan(0.3 * magnitude)), 0.0]
    across, along = [magnitude * shift * width, 0.0], [0.0, magnitude * shift * height]
    blend = 1 + 0.9 * magnitude
    steps: list[Callable[[], Tensor]] = [
        lambda: image,
        lambda: tv.affine(image, 0.0, [0.0, 0.0], 1.0, shear, BILINEAR),
        lambda: tv.affine(image, 0.0, [0.0, 0.0], 1.0, shear[::-1], BILINEAR),
        lambda: tv.affine(image, 0.0, across, 1.0, [0.0, 0.0], BILINEAR),
        lambda: tv.affine(image, 0.0, along, 1.0, [0.0, 0.0], BILINEAR),
        lambda: tv.rotate(image, 30 * magnitude, BILINEAR),
        lambda: tv.posterize(image, round(bits[0] + magnitude * (bits[1] - bits[0]))),
        lambda: tv.solarize(image, float(torch.tensor(1 - magnitude, dtype=image.dtype))),
        lambda: tv.autocontrast(image),
        lambda: tv.equalize(image),
        lambda: tv.adjust_brightness(image, blend),
        lambda: tv.adjust_saturation(image, blend),
        lambda: tv.adjust_contrast(image, blend),
        lambda: tv.adjust_sharpness(image, blend),
    ]
    return steps[round(number)]()


def rand_augmented(image: Tensor, row: Row) -> Tensor:
    for k in range(1, 1 + sum(name.startswith("rand_operation") for name in row)):
        number, magnitude = row[f"rand_operation_{k}"][0], row[f"rand_magnitude_{k}"][0]
        image = operated(image, number, magnitude, 150 / 331, (8, 4))
    return image


def mixed(image: Tensor, row: Row) -> Tensor:
    chains = range(1, 1 + sum(name.startswith("mix_weight") for name in row))
    result = (1 - sum(row[f"mix_weight_{k}"][0] for k in chains)) * image
    for k in chains:
        view = image
        for slot in range(1, 4):
            number, magnitude = row[f"mix_operation_{k}_{slot}"][0], row[f"mix_magnitude_{k}_{slot}"][0]
            view = operated(view, number, magnitude, 150 / 331, (8, 4))
        result = result + row[f"mix_weight_{k}"][0] * view
    return result


@dataclass(frozen=True)
class Case:
    """What an augmentation must equal, and within which deviations on float32 and float64 images.

    Args:
        square: whether it needs square images.
        against: what it is compared with, where its docstring names no counterpart.
    """

    augmentation: Augmentation
    reference: Reference
    single: float
    double: float = 1e-9
    square: bool = False
    against: str = ""


# Equalizing, posterizing and solarizing jump, so what comes before them in a chain must agree to every bit.
CONTINUOUS = default_operations()[:5]
CASES = [
    Case(Identity(), lambda x, row: x, 0, 0),
    Case(Pipeline(), lambda x, row: x, 0, 0),
    *(
        Case(RandomResizedCrop(n, interpolation=i), crop(n, i), 5e-6)
        for n in (17, 96)
        for i in ("bilinear", "bicubic")
    ),
    Case(Resize(24, 28), resized, 0, 0, against="resize, center_crop"),
    Case(HorizontalFlip(1.0), lambda x, row: tv.horizontal_flip(x), 0, 0),
    Case(VerticalFlip(1.0), lambda x, row: tv.vertical_flip(x), 0, 0),
    Case(QuarterTurn(), turned, 0, 0, square=True, against="rotate"),
    Case(Rotate((-180, 180)), affine, 1e-4),
    Case(Rotate((-180, 180)), lambda x, r: tv.rotate(x, math.degrees(first(r, "rotation")), BILINEAR), 1e-4),
    Case(Translate(0.3), affine, 5e-5, against="affine"),
    Case(SE2((-180, 180), 0.2), affine, 1e-4, against="affine"),
    Case(Scale((0.5, 2.0)), affine, 5e-5),
    Case(Shear(), affine, 5e-5, against="affine"),
    Case(Affine((-180, 180), (0.2, 0.1), (0.6, 1.6), (-0.3, 0.3), (-0.3, 0.3)), affine, 1e-4),
    Case(Perspective(0.6, p=1.0), perspective, 1e-4),
    Case(RandomErasing(value=(0.2, 0.4, 0.6), p=1.0), erased, 0, 0),
    Case(ColorJitter(0.8, 0.8, 0.8, 0.5, p=1.0), jittered, 1e-5, 2e-6),
    Case(Grayscale(1.0), lambda x, row: tv.rgb_to_grayscale(x, 3), 2e-7),
    Case(Invert(1.0), lambda x, row: tv.invert(x), 0, 0),
    Case(Solarize(p=1.0), solarized, 0, 0, against="solarize"),
    Case(SolarizeThreshold(p=1.0), solarized, 0, 0, against="solarize"),
    Case(Posterize((0, 7), 1.0), lambda x, r: tv.posterize(x, round(first(r, "posterize_bits"))), 0, 0),
    Case(Gamma((0.3, 3.0)), lambda x, r: tv.adjust_gamma(x, 2 ** first(r, "gamma")), 1e-6),
    Case(Sharpness((0.0, 3.0)), lambda x, r: tv.adjust_sharpness(x, first(r, "sharpness")), 1e-6),
    Case(AutoContrast(1.0), lambda x, row: tv.autocontrast(x), 2e-7),
    Case(Equalize(1.0), lambda x, row: tv.equalize(x), 2e-7),
    Case(ChannelPermutation(), permuted, 0, 0),
    Case(
        GaussianBlur(11, (0.3, 2.0), 1.0),
        lambda x, r: tv.gaussian_blur(x, [11, 11], [first(r, "blur_sigma")] * 2),
        5e-6,
        1e-6,
    ),
    Case(STL10, lambda x, row: tv.normalize(x, list(STL10.mean), list(STL10.std)), 2e-6, against="normalize"),
    Case(RandAugment(1, (0.0, 1.0)), rand_augmented, 1e-4, against="its operations in turn"),
    Case(RandAugment(3, (0.0, 1.0), CONTINUOUS), rand_augmented, 1e-4),
    Case(AugMix(magnitude=(0.0, 1.0), operations=CONTINUOUS), mixed, 1e-4, against="its operations in turn"),
]  # fmt: skip


def make_images(size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Noise, one in large blocks; each with grey, black, white and primary patches at the border."""
    stream = Stream.of(torch.arange(COUNT), "exact")
    images = stream.uniform("noise", 3 * size[0] * size[1]).view(COUNT, 3, *size)
    images[1:] = (torch.nn.functional.avg_pool2d(images[1:], 5, 1, 2) * 1.5).clamp(0, 1)
    images[:, :, :4, :4] = 0.5
    images[:, :, 4:6, :4] = 0.0
    images[:, :, 6:8, :4] = 1.0
    images[:, 0, 8:10, :4], images[:, 1:, 8:10, :4] = 1.0, 0.0
    images[3] = images[3, :1]  # every pixel grey
    return images.to(dtype)


def deviation(case: Case, size: tuple[int, int], dtype: torch.dtype) -> float:
    images = make_images(size, dtype)
    drawn = case.augmentation.sample(Stream.of(torch.arange(COUNT), "exact"), size)
    values = {name: value.to(dtype) for name, value in drawn.values.items()}
    found = case.augmentation.apply(images, Params.of(drawn.space, values, count=COUNT))
    largest = 0.0
    for k in range(COUNT):
        row = {name: value[k].tolist() for name, value in values.items()}
        largest = max(largest, float((found[k] - case.reference(images[k], row)).abs().max()))
    return largest


def name(case: Case) -> str:
    return repr(case.augmentation)[:50]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES, ids=name)
def test_equals_torchvision(case: Case, dtype: torch.dtype) -> None:
    for size in [s for s in SIZES if s[0] == s[1] or not case.square]:
        allowed = case.single if dtype == torch.float32 else case.double
        assert deviation(case, size, dtype) <= allowed, size


def test_every_claim_is_checked() -> None:
    """What a docstring calls torchvision's is compared, but GaussianNoise's draws while it is applied."""
    every = [e.value for e in subclasses(Augmentation)]
    claims = {cls for cls in every if re.search(r"torchvision's [A-Z`]", cls.__doc__ or "")}
    assert len(claims) > 15
    assert claims - {GaussianNoise} <= {type(c.augmentation) for c in CASES}


@pytest.mark.parametrize("policy", [presets.simclr(32), presets.equimod_byol(2, 64)], ids=["simclr", "byol"])
def test_a_whole_policy(policy: Pipeline) -> None:
    """Step by step, as a step may jump (solarize) where the one before rounds."""
    size = (47, 61)
    images = make_images(size, torch.float32)
    drawn = policy.sample(Stream.of(torch.arange(COUNT), "policy"), size)
    for step in policy.steps:
        images = step.apply(images, drawn)
    assert torch.equal(images, policy.apply(make_images(size, torch.float32), drawn))


def print_table() -> None:
    """One row per augmentation, as docs/augmentations.md has them."""
    print("| class and what it samples | factors | torchvision | deviation |\n|---|---|---|---|")
    for entry in subclasses(Augmentation):
        cls: type[Augmentation] = entry.value
        hidden = ("operations", "steps", "_factors")
        fields = [f for f in dataclasses.fields(cls) if f.name not in hidden]  # type: ignore[arg-type]
        example = cls.example()
        policy = ", ".join(f"{f.name}={_short(getattr(example, f.name))}" for f in fields)
        factors: dict[str, str] = {}
        for factor in example.space:
            names = re.sub(r"_\d", "_k", factor.name)
            kind = type(factor).__name__ + (f", {factor.unit}" if factor.unit else "")
            rest = " ".join(f"{v:g}" for v in factor.neutral(1)[0].tolist())
            factors[names] = f"`{names}` ({kind}; {rest})"
        claim = re.search(r"torchvision's ([A-Z`]\w+|``\w+``)", cls.__doc__ or "")
        cases = [c for c in CASES if type(c.augmentation) is cls]
        worst = [deviation(c, s, torch.float32) for c in cases for s in SIZES if s[0] == s[1] or not c.square]
        cells = [f"`{cls.__name__}({policy})`", ", ".join(factors.values()) or "none"]
        against = claim.group(1).strip("`") if claim else next((c.against for c in cases), "")
        cells += [against, f"{max(worst):.1e}" if worst else ""]
        print(f"| {' | '.join(cells)} |")


def _short(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_short, value))})"
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


if __name__ == "__main__":
    print_table()
