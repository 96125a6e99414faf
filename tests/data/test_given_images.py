"""Images in memory: what is accepted, and what is refused with which words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from equissl.data.given_images import Images, open_images
from equissl.data.image_folder import write_images
from equissl.errors import UserError

PIXELS = torch.randint(0, 256, (5, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def pillow_images() -> list[Image.Image]:
    return [Image.fromarray(x.permute(1, 2, 0).numpy()) for x in PIXELS]


@pytest.mark.parametrize(
    "make",
    [
        lambda: PIXELS,
        lambda: PIXELS.numpy(),
        lambda: PIXELS / 255,
        lambda: (PIXELS / 255).double().numpy(),
        lambda: list(PIXELS),
        lambda: [x.numpy() for x in PIXELS],
        pillow_images,
    ],
)
def test_all_forms_give_the_same_images(make: Callable[[], Images]) -> None:
    dataset = open_images(make(), 8)
    assert torch.equal(dataset.batch(torch.arange(5)).images["image"], PIXELS)


def test_files_and_pillow_images_become_squares(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 4}, side=12)
    paths = sorted((tmp_path / "a").iterdir())
    (tmp_path / "broken.png").write_bytes(b"no image")
    listed = open_images([*paths, str(tmp_path / "broken.png")], 8)
    opened = open_images([Image.open(p) for p in paths], 8)
    index = torch.arange(4)
    whole = open_images(tmp_path / "a", 8)
    for dataset in (listed, opened):
        assert torch.equal(dataset.batch(index).images["image"], whole.batch(index).images["image"])
    assert [b.path for b in listed.bad_images] == [str(tmp_path / "broken.png")]


def test_sixteen_bits_are_read_with_one_range() -> None:
    values = np.full((8, 8), 2048, dtype=np.uint16)
    dim, bright = Image.fromarray(values), Image.fromarray(values * 20)
    images = open_images([dim, bright], 8).batch(torch.arange(2)).images["image"]
    assert images[0].unique().tolist() == [8] and images[1].unique().tolist() == [159]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PIXELS.float(), r"in \[0, 1\], got 0 to 255; divide by 255"),
        (
            lambda: (PIXELS / 255 - 0.45) / 0.22,
            r"got -2\.0.* to 2\.5.*; they look normalised: .*mean= and std=",
        ),
        (lambda: PIXELS / 127.5 - 1, r"got -1 to 1; they look scaled to \[-1, 1\]: pass \(images \+ 1\) / 2"),
        (
            lambda: (PIXELS / 255).index_fill(0, torch.tensor([3]), float("nan")),
            "1 of 5 hold NaN or infinity, the first is number 3",
        ),
        (lambda: (PIXELS / 255).index_fill(0, torch.tensor([1, 4]), torch.inf), "2 of 5 .* number 1"),
        (lambda: PIXELS.int(), r"expected uint8 or floating-point numbers, got torch\.int32"),
        (lambda: PIXELS[0], r"expected the shape \(N, C, H, W\), got \(3, 8, 8\)"),
        (lambda: PIXELS.movedim(1, 3), "channels last"),
        (
            lambda: [PIXELS[0], PIXELS[1, :, :4]],
            r"one shape, got \(3, 8, 8\) \(number 0\), \(3, 4, 8\) \(num",
        ),
        (lambda: [*pillow_images(), {"pixels": 3}], "number 5 is of type dict"),
        (lambda: [*pillow_images(), "a.png"], "number 5 is of type str"),
        (list, r"images: expected a tensor .* got an empty list"),
        (lambda: 7, "images: expected a tensor .* got an object of type int"),
        (lambda: ["/nowhere/a.png"], "none of the 1 images can be read"),
    ],
)
def test_what_is_no_image_is_refused(make: Callable[[], Images], said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_images(make(), 8)
