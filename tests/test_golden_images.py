"""Images and parameter vectors against the outputs of torchvision, EquiMod's code and AugSelf's kornia."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_files import golden
from torch import Tensor

from equissl.augment import (
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Pipeline,
    QuarterTurns,
    RandomResizedCrop,
    Rotate,
    Solarize,
    presets,
    replay,
)
from equissl.augment.color.functional import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)
from equissl.augment.equimod_params import equimod_vector
from equissl.augment.geometry.resample import Interpolation
from equissl.params import Params, Space

pytestmark = pytest.mark.golden
Golden = dict[str, Tensor]


def files(family: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", golden(family), ids=lambda p: p.stem)


def read(path: Path) -> Golden:
    with np.load(path) as file:
        return {k: torch.from_numpy(np.array(file[k])) for k in file.files if file[k].dtype.kind in "fiu"}


def make_images(uint8: Tensor) -> Tensor:
    return uint8.permute(0, 3, 1, 2).float().div(255).contiguous()


def at(images: Tensor, positions: Tensor, like: Tensor) -> Tensor:
    row, col = positions[: like.shape[-1]].unbind(1)
    return images[:, :, row, col]


def same(found: Tensor, wanted: Tensor, atol: float) -> None:
    torch.testing.assert_close(found.to(wanted.dtype), wanted, atol=atol, rtol=0)


def compare(g: Golden, name: str, images: Tensor, positions: Tensor, atol: float) -> None:
    """Values at the stored positions, and channel means over all pixels."""
    wanted = g[f"{name}__at_positions"]
    same(at(images, positions, wanted), wanted, atol)
    same(images.double().mean((2, 3)), g[f"{name}__channel_mean"], max(1e-6, atol / 5))
    if f"{name}__channel_std" in g:
        same(images.double().std((2, 3), correction=0), g[f"{name}__channel_std"], max(1e-6, atol / 5))


def crop_record(boxes: Tensor, height: Tensor | int, width: Tensor | int) -> dict[str, Tensor]:
    top, left, tall, wide = boxes.double().split(1, 1)
    record = {"crop_top": top / height, "crop_left": left / width}
    record |= {"crop_height": tall / height, "crop_width": wide / width}
    return {n: v.float() for n, v in record.items()}


@files("torchvision_geometry")
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resized_crop(path: Path, interpolation: Interpolation) -> None:
    g, name = read(path), f"resized_crop_{interpolation}"
    images = make_images(g["images_uint8"])
    first = g[f"{name}__full_first2"]
    record = crop_record(g["boxes_top_left_height_width"], *images.shape[2:])
    found = replay(RandomResizedCrop(first.shape[-1], interpolation=interpolation), images, record)
    compare(g, name, found, g["positions32_row_col"], 2e-6)
    same(found[:2], first, 2e-6)
    levels = g[f"{name}_uint8path__at_positions"].float()
    rounded = at(found, g["positions32_row_col"], levels).mul(255).round().clamp(0, 255)
    assert (rounded - levels).abs().max() <= 1


@files("torchvision_geometry")
def test_flip_and_rotate(path: Path) -> None:
    g = read(path)
    images, positions = make_images(g["images_uint8"]), g["positions40_row_col"]
    flipped = replay(HorizontalFlip(), images, {"horizontal_flip": torch.ones(len(images), 1)})
    wanted = g["hflip__at_positions"]
    same(at(flipped, positions, wanted), wanted, 1e-7)
    angle = g["rotate_angle_degrees"].deg2rad().float()[:, None]
    turned = replay(Rotate(), images, {"rotation": angle})
    compare(g, "rotate_bilinear_fill_none", turned, positions, 5e-5)
    same(turned[5], g["rotate_bilinear_fill_none__full_image5"], 5e-5)


@files("torchvision_color")
def test_single_colours(path: Path) -> None:
    g = read(path)
    images, positions = make_images(g["images_uint8"]), g["positions40_row_col"]
    steps = {
        "brightness": adjust_brightness,
        "contrast": adjust_contrast,
        "saturation": adjust_saturation,
        "hue": adjust_hue,
    }
    for name, step in steps.items():
        found = step(images, g[f"{name}_factor"].float()[:, None])
        compare(g, f"adjust_{name}", found, positions, 5e-6 if name == "hue" else 2e-6)
    grey = replay(Grayscale(), images, {"grayscale": torch.ones(len(images), 1)})
    wanted = g["rgb_to_grayscale__one_channel_at_positions"]
    for channel in range(3):
        same(at(grey, positions, wanted)[:, channel], wanted, 2e-6)
    on = torch.ones(1, 1)
    solarized = [
        replay(Solarize(float(t)), images[k : k + 1], {"solarize": on})
        for k, t in enumerate(g["solarize_threshold"])
    ]
    compare(g, "solarize", torch.cat(solarized), positions, 1e-7)


@files("torchvision_color")
def test_jitter_in_every_stored_order(path: Path) -> None:
    g = read(path)
    images, positions = make_images(g["images_uint8"]), g["positions40_row_col"]
    record = {n: g[f"jitter_{n}"].float()[:, None] for n in ("brightness", "contrast", "saturation", "hue")}
    for k, order in enumerate(g["jitter_orders"].float()):
        found = replay(ColorJitter(), images, {**record, "color_order": order.repeat(len(images), 1)})
        compare(g, f"jitter_order{k}", found, positions, 5e-6)


@files("torchvision_color")
def test_blur(path: Path) -> None:
    g = read(path)
    images, sigma = make_images(g["images_uint8"]), g["blur_sigma"].float()[:, None]
    kernels = [int(n.removeprefix("gaussian_blur_kernel").split("_")[0]) for n in g if "blur_kernel" in n]
    assert kernels
    for kernel in set(kernels):
        found = replay(GaussianBlur(kernel), images, {"blur_sigma": sigma})
        compare(g, f"gaussian_blur_kernel{kernel}", found, g["positions40_row_col"], 5e-6)


def equimod_record(g: Golden, policy: str) -> Params:
    """The named values of a policy's records, with the flags that go with them."""
    get = {k.removeprefix(f"{policy}__"): v for k, v in g.items() if k.startswith(f"{policy}__")}
    sides = ("crop_top", "crop_left", "crop_height", "crop_width")
    boxes = torch.stack([get[n] for n in sides], 1)
    values = crop_record(boxes, get["source_height"][:, None], get["source_width"][:, None])
    values["horizontal_flip"] = get["flip"][:, None].float()
    values |= {n: get[n][:, None].float() for n in ("brightness", "contrast", "saturation", "hue")}
    values["color_order"] = get["jitter_order"].float()
    values |= {"grayscale": get["gray"][:, None].float(), "blur_sigma": get["blur_sigma"][:, None].float()}
    values["solarize"] = get["solarize"][:, None].float()
    jitter, blur = get["jitter_applied"].bool(), get["blur_applied"].bool()
    always = torch.ones_like(jitter)
    flags = dict.fromkeys(values, always)
    flags |= dict.fromkeys(("brightness", "contrast", "saturation", "hue", "color_order"), jitter)
    space = presets.equimod_byol(1).space
    return Params(space, values, {**flags, "blur_sigma": blur}, len(jitter))


PARAMETER_FILES = golden("equimod_params_simclr") + golden("equimod_params_byol")


@pytest.mark.parametrize("path", PARAMETER_FILES, ids=lambda p: p.stem)
def test_equimod_vectors(path: Path) -> None:
    g = read(path)
    policies = [k.removesuffix("__vector") for k in g if k.endswith("__vector")]
    assert policies
    for policy in policies:
        wanted = g[f"{policy}__vector"]
        height, width = (g[f"{policy}__source_{n}"][:, None] for n in ("height", "width"))
        found = equimod_vector(equimod_record(g, policy), height, width, wanted.shape[1])  # type: ignore[arg-type]
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("path", PARAMETER_FILES, ids=lambda p: p.stem)
def test_equimod_replay(path: Path) -> None:
    g = read(path)
    policies = [k.removesuffix("__replay_output_tensor") for k in g if k.endswith("__replay_output_tensor")]
    assert policies
    for policy in policies:
        wanted = g[f"{policy}__replay_output_tensor"]
        record = equimod_record(g, policy)[g[f"{policy}__replay_index"]]
        crop, *rest = presets.equimod_byol(1, wanted.shape[-1]).steps
        assert isinstance(crop, RandomResizedCrop)
        pipeline = Pipeline((replace(crop, size=wanted.shape[-1]), *rest))
        found = pipeline.apply(make_images(g[f"{policy}__replay_input_uint8"]), record)
        same(found, wanted, 5e-6)
        difference = (found.clamp(0, 1) - g[f"{policy}__replay_output_pil"]).abs()
        assert difference.max() < 0.06
        assert difference.mean() < 0.01


@files("augself")
def test_kornias_jitter(path: Path) -> None:
    g = read(path)
    rows, images = g["jitter_replay_index"], g["jitter_replay_input"]
    names = ("brightness", "contrast", "saturation", "hue")
    record = {n: g[f"rotpipe__view1_{n}"][rows].float()[:, None] for n in names}
    order = g["rotpipe__view1_jitter_order_shared_by_batch"].float()
    record["color_order"] = order.expand(len(rows), 4)
    same(replay(ColorJitter(saturation_space="hsv"), images, record), g["jitter_replay_output"], 5e-6)
    blended = replay(ColorJitter(), images, record)
    assert (blended - g["jitter_replay_output"]).abs().max() > 1e-3


@files("essl")
def test_rotation_batch(path: Path) -> None:
    g = read(path)
    images = g["rotation_input"]
    views, record = QuarterTurns().expand(images, Params.of(Space(), {}, count=len(images)))
    assert torch.equal(views, g["rotation_output"])
    assert torch.equal(record.values["quarter_turns"][:, 0].long(), g["rotation_labels"])
