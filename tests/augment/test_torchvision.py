"""Images equal torchvision's functions on float tensors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torchvision.transforms.v2.functional as tv
from torch import Tensor
from torchvision import transforms
from torchvision.transforms.v2 import InterpolationMode

from equissl.augment import (
    Augmentation,
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    RandomResizedCrop,
    Resize,
    Rotate,
    Solarize,
    VerticalFlip,
    replay,
)
from equissl.augment.geometry.resample import Interpolation
from equissl.params import Params
from equissl.random import Stream

SIZES = [(32, 32), (96, 96), (224, 224), (33, 47), (51, 20)]
OPERATIONS = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
FACTORS = ("brightness", "contrast", "saturation", "hue")


def make_images(size: tuple[int, int], count: int = 3, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Noise, one in large blocks, with grey, black, white and primary patches."""
    stream = Stream.of(torch.arange(count), "images")
    images = stream.uniform("noise", 3 * size[0] * size[1], low, high).view(count, 3, *size)
    smooth = torch.nn.functional.avg_pool2d(images, 5, 1, 2)
    images[1:] = (smooth[1:] * 1.5).clamp(low, high)
    images[:, :, :4, :4] = 0.5
    images[:, :, 4:6, :4] = 0.0
    images[:, :, 6:8, :4] = 1.0
    images[:, 0, 8:10, :4], images[:, 1:, 8:10, :4] = 1.0, 0.0
    return images


def same(found: Tensor, wanted: Tensor, atol: float = 2e-6) -> None:
    torch.testing.assert_close(found, wanted, atol=atol, rtol=0)


def mode(name: str) -> InterpolationMode:
    return InterpolationMode(name)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [17, 32, 64])
def test_crop(size: tuple[int, int], side: int, interpolation: Interpolation) -> None:
    images = make_images(size, 6)
    height, width = size
    boxes = [(0, 0, height, width), (3, 2, 1, 1), (height - 9, width - 7, 9, 7)]
    boxes += [
        (1, 0, height - 1, 6),
        (0, 3, 5, width - 3),
        (2, 2, min(side, height - 2), min(side, width - 2)),
    ]
    top, left, tall, wide = torch.tensor(boxes, dtype=torch.float32).split(1, 1)
    record = {"crop_top": top / height, "crop_left": left / width}
    record |= {"crop_height": tall / height, "crop_width": wide / width}
    found = replay(RandomResizedCrop(side, interpolation=interpolation), images, record)
    for k, box in enumerate(boxes):
        wanted = tv.resized_crop(images[k], *box, [side, side], mode(interpolation), antialias=True)
        same(found[k], wanted, 5e-6)


def test_crop_in_float64_is_exact() -> None:
    images = make_images((40, 52), 2).double()
    crop = RandomResizedCrop(23, interpolation="bicubic")
    draw = crop.sample(Stream.of(torch.arange(2), 0), (40, 52))
    found = crop.apply(images, draw)
    for k in range(2):
        sides = zip(crop.space.names, (40, 52, 40, 52), strict=True)
        box = [round(float(draw.values[n][k]) * pixels) for n, pixels in sides]
        wanted = tv.resized_crop(images[k], *box, [23, 23], mode("bicubic"), antialias=True)
        same(found[k], wanted, 1e-12)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_whole_image_at_its_own_size_keeps_every_bit(interpolation: Interpolation) -> None:
    images = make_images((37, 37))
    crop = RandomResizedCrop(37, interpolation=interpolation)
    assert torch.equal(crop.apply(images, crop.space.neutral(len(images))), images)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_crop_is_continuous_in_its_box(interpolation: Interpolation) -> None:
    images = torch.nn.functional.avg_pool2d(make_images((40, 40), 1), 5, 1, 2).expand(200, -1, -1, -1)
    move = torch.linspace(0, 5, 200)[:, None] / 40
    record = {"crop_top": move, "crop_left": move / 2, "crop_height": 0.4 + move, "crop_width": 0.5 + move}
    views = replay(RandomResizedCrop(19, interpolation=interpolation), images, record)
    assert (views[1:] - views[:-1]).abs().max() < 0.06
    assert (views[-1] - views[0]).abs().max() > 0.1


def test_a_crop_never_shows_what_lies_outside() -> None:
    inside = torch.zeros(1, 3, 20, 20)
    inside[:, :, 5:15, 4:12] = make_images((20, 20), 1)[:, :, 5:15, 4:12]
    outside = torch.where(inside == 0, 7.0, inside)
    outside[:, :, 5:15, 4:12] = inside[:, :, 5:15, 4:12]
    box = {"crop_top": 5 / 20, "crop_left": 4 / 20, "crop_height": 10 / 20, "crop_width": 8 / 20}
    record = {n: torch.tensor([[v]]) for n, v in box.items()}
    crop = RandomResizedCrop(30, interpolation="bicubic")
    assert torch.equal(replay(crop, inside, record), replay(crop, outside, record))


@pytest.mark.parametrize("size", [(32, 32), (375, 500), (20, 200), (200, 20)])
def test_crop_boxes_are_distributed_as_torchvision_draws_them(size: tuple[int, int]) -> None:
    count, area, ratio = 3000, (0.2, 1.0), (3 / 4, 4 / 3)
    draw = RandomResizedCrop(8, area, ratio).sample(Stream.of(torch.arange(count), 0), size)
    height, width = size
    pixels = torch.cat(list(draw.values.values()), 1) * torch.tensor([height, width, height, width])
    assert (pixels - pixels.round()).abs().max() < 1e-3
    assert (pixels[:, 0] + pixels[:, 2]).max() < height + 0.01
    assert (pixels[:, 1] + pixels[:, 3]).max() < width + 0.01
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = torch.empty(3, *size)
        drawn = [transforms.RandomResizedCrop.get_params(image, area, ratio) for _ in range(count)]
    wanted = torch.tensor(drawn, dtype=torch.float32)
    allowed = 4 * (pixels.var(0) + wanted.var(0)).sqrt() / count**0.5 + 1e-3
    assert ((pixels.mean(0) - wanted.mean(0)).abs() < allowed).all()
    assert ((pixels.std(0) - wanted.std(0)).abs() < allowed).all()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("size", "short", "side"), [((40, 61), 36, 32), ((61, 40), 24, 24), ((32, 32), 0, 32)]
)
def test_resize(size: tuple[int, int], short: int, side: int, interpolation: Interpolation) -> None:
    images = make_images(size)
    resize = Resize(side, short, interpolation)
    wanted = tv.center_crop(tv.resize(images, [short or side], mode(interpolation), antialias=True), [side])
    found = resize.apply(images, resize.sample(Stream.of(torch.arange(3)), size))
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("size", SIZES)
def test_rotate_and_flips(size: tuple[int, int]) -> None:
    degrees = [-170.0, 0.0, 90.0, 33.3]
    images = make_images(size, len(degrees))
    found = replay(Rotate(), images, {"rotation": torch.tensor(degrees)[:, None].deg2rad()})
    for k, angle in enumerate(degrees):
        same(found[k], tv.rotate(images[k], angle, mode("bilinear"), fill=None), 5e-5)
    on = torch.ones(len(images), 1)
    assert torch.equal(replay(HorizontalFlip(), images, {"horizontal_flip": on}), images.flip(3))
    assert torch.equal(replay(VerticalFlip(), images, {"vertical_flip": on}), images.flip(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES)
def test_every_order_of_colours(size: tuple[int, int], dtype: torch.dtype) -> None:
    orders = torch.cartesian_prod(*[torch.arange(4)] * 4)
    orders = orders[[len(set(o.tolist())) == 4 for o in orders]]
    orders = orders if size[0] < 50 else orders[::5]
    images = make_images(size, len(orders)).to(dtype)
    jitter = ColorJitter(0.8, 0.8, 0.8, 0.5, p=1.0)
    draw = jitter.sample(Stream.of(torch.arange(len(orders)), 3), size)
    draw = replace(draw, values={**draw.values, "color_order": orders.float()})
    found = jitter.apply(images, draw)
    for k, order in enumerate(orders.tolist()):
        wanted = images[k]
        for step in order:
            wanted = OPERATIONS[step](wanted, float(draw.values[FACTORS[step]][k]))
        # torchvision shifts the hue in float32 whatever the image's precision.
        same(found[k], wanted, 1e-5 if dtype == torch.float32 else 2e-6)


@pytest.mark.parametrize("turns", [-0.45, -0.21, 0.07, 0.45])
def test_hue_of_grey_and_of_overshooting_pixels(turns: float) -> None:
    images = make_images((32, 32), 3, -0.1, 1.1)
    images[2] = images[2, :1]
    draw = {"hue": torch.full((3, 1), turns), "color_order": torch.arange(4.0).repeat(3, 1)}
    record = {**draw, **{n: torch.ones(3, 1) for n in FACTORS[:3]}}
    same(replay(ColorJitter(), images, record), tv.adjust_hue(images, turns))
    grey = make_images((32, 32))[:, :1].expand(-1, 3, -1, -1)
    same(replay(ColorJitter(), grey, record), grey.clamp(0, 1), 1e-7)


@pytest.mark.parametrize("kernel", [3, 9, 23])
@pytest.mark.parametrize("size", SIZES)
def test_blur(size: tuple[int, int], kernel: int) -> None:
    images, sigma = make_images(size), [0.1, 0.7, 2.0]
    found = replay(GaussianBlur(kernel), images, {"blur_sigma": torch.tensor(sigma)[:, None]})
    for k, s in enumerate(sigma):
        same(found[k], tv.gaussian_blur(images[k], [kernel, kernel], [s, s]), 5e-6)


def test_grayscale_and_solarize() -> None:
    images, on = make_images((32, 32)), torch.ones(3, 1)
    images[:, :, 20:22] = 128 / 255
    same(replay(Grayscale(), images, {"grayscale": on}), tv.rgb_to_grayscale(images, 3), 2e-7)
    for level in (0.2, 128 / 255):
        found = replay(Solarize(level), images, {"solarize": on})
        same(found, tv.solarize(images, float(torch.tensor(level))), 0)


@pytest.mark.parametrize("augmentation", [ColorJitter(), Grayscale(p=1.0)])
def test_colours_need_three_channels(augmentation: Augmentation) -> None:
    draw: Params = augmentation.sample(Stream.of(torch.arange(8)), (8, 8))
    with pytest.raises(ValueError, match="3 channels, got 1"):
        augmentation.apply(torch.rand(8, 1, 8, 8), draw)
