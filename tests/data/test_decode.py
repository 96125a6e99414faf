"""Every kind of file that a folder may hold: used as it should be, or refused with a reason."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, ImageSequence
from torch import Tensor

from equissl.data.base import BadImage
from equissl.data.files import decode as module
from equissl.data.files import pixels
from equissl.data.files.decode import Decoding, Header, decode, ignore_metadata_warnings, read_header
from equissl.data.files.pixels import Fit, Upright, fit

# With which a reason begins, so that "NAME is REASON" is a sentence.
WHAT_A_FILE_IS = ("a", "not", "empty", "missing", "truncated", "damaged", "too")


def noise(width: int = 30, height: int = 20, channels: int = 3) -> NDArray[np.uint8]:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def decoded(path: Path) -> Tensor:
    found = decode(path)
    assert isinstance(found, Tensor), found
    assert found.dtype == torch.uint8
    return found


def reason(path: Path) -> str:
    found = decode(path, "shown")
    assert isinstance(found, BadImage), "was accepted"
    assert found.path == "shown"
    assert found.reason.split()[0].rstrip(":") in WHAT_A_FILE_IS, f"shown is {found.reason}"
    return found.reason


def pixel(path: Path) -> list[int]:
    return decoded(path)[:, 0, 0].tolist()


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tif", ".ppm"])
def test_lossless_formats_give_their_pixels(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"a{suffix}", Image.fromarray(noise()), lossless=True)
    assert torch.equal(decoded(path), torch.from_numpy(noise()).permute(2, 0, 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", Image.fromarray(noise()), exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert (upright.shape[0] > upright.shape[1]) == (orientation > 4)
    assert torch.equal(decoded(path), torch.from_numpy(upright.copy()).permute(2, 0, 1))


def test_cmyk(tmp_path: Path) -> None:
    ink = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    assert pixel(saved(tmp_path / "a.tif", ink)) == [0, 255, 255]


def test_inverted_cmyk_of_adobe_jpeg(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (255, 0, 0, 0)), quality=100)
    assert b"Adobe" in path.read_bytes()
    red, green, blue = pixel(path)
    assert red < 10 and green > 245 and blue > 245


def test_palette(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert pixel(saved(tmp_path / "a.png", image)) == [10, 200, 30]


def test_palette_with_transparency_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.putpixel((1, 0), 0)
    found = decoded(saved(tmp_path / "a.png", image, transparency=1))
    assert found[:, 0, 0].tolist() == [255, 255, 255]
    assert found[:, 0, 1].tolist() == [0, 0, 0]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_on_white(tmp_path: Path, mode: str) -> None:
    colour = {"RGBA": (100, 100, 100, 51), "LA": (100, 51)}[mode]
    path = saved(tmp_path / "a.png", Image.new(mode, (4, 4), colour))
    assert pixel(path) == [224, 224, 224]  # a fifth of 100 on four fifths of 255


def test_grey_with_a_transparent_value(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("L", (4, 4), 7), transparency=7)
    assert pixel(path) == [255, 255, 255]


def test_grey(tmp_path: Path) -> None:
    assert pixel(saved(tmp_path / "a.png", Image.new("L", (4, 4), 77))) == [77, 77, 77]


def test_one_bit(tmp_path: Path) -> None:
    assert pixel(saved(tmp_path / "a.png", Image.new("1", (4, 4), 1))) == [255, 255, 255]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 257, 1000, 40000, 65535]], dtype=np.uint16)
    found = decoded(saved(tmp_path / f"a{suffix}", Image.fromarray(values)))
    assert found[0, 0].tolist() == [0, 1, 4, 156, 255]


def test_sixteen_bit_colour(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + struct.pack(">3H", 0, 40000, 65535)
    parts = [
        (b"IHDR", struct.pack(">2I5B", 1, 1, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(row)),
        (b"IEND", b""),
    ]
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    assert pixel(path) == [0, 156, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 51.0, 204.0], [0, 51, 204]),
        ([-100.0, 0.0, 300.0], [0, 64, 255]),
    ],
)
def test_floats_are_read_by_their_range(tmp_path: Path, values: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], dtype=np.float32))
    assert decoded(saved(tmp_path / "a.tif", image))[0, 0].tolist() == expected


def test_floats_that_are_not_numbers(tmp_path: Path) -> None:
    for value in (np.nan, np.inf, -np.inf):
        image = Image.fromarray(np.array([[value, 0.0, 1.0]], dtype=np.float32))
        saved(tmp_path / "a.tif", image)
        (tmp_path / "a.ppm").write_bytes(b"Pf\n3 1\n-1.0\n" + np.array([value, 0, 1], "<f4").tobytes())
        for name in ("a.tif", "a.ppm"):
            found = reason(tmp_path / name)
            assert found == "not finite: it holds NaN or infinite values; replace them"


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_the_first_of_several_frames(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue", "green")]
    path = tmp_path / f"a{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    assert len(list(ImageSequence.Iterator(Image.open(path)))) == 3
    assert pixel(path) == [255, 0, 0]


def test_a_large_jpeg_is_decoded_at_a_reduced_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.jpg", Image.fromarray(noise(64, 48)))
    monkeypatch.setattr(module, "MAX_PIXELS", 64 * 48 // 3)
    assert decoded(path).shape == (3, 24, 32)
    assert read_header(path) == Header("JPEG", "RGB", 64, 48)


def test_a_jpeg_of_two_hundred_million_pixels(tmp_path: Path) -> None:
    small = io.BytesIO()
    Image.new("L", (16, 16), 90).save(small, "JPEG")
    data = bytearray(small.getvalue())
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">2H", 20000, 10000)
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_header(path) == Header("JPEG", "L", 10000, 20000)


def test_another_format_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 20000 10000 255\n" + b"\0" * 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reason(path) == "too large: 200,000,000 pixels, more than the limit of 178,956,970"
    assert isinstance(read_header(path), BadImage)


def test_the_content_decides_what_a_file_is(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(noise()).save(path, "PNG")
    assert torch.equal(decoded(path), torch.from_numpy(noise()).permute(2, 0, 1))


def test_text_is_not_a_image(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_text("<html>404 not found</html>")
    assert "not an image" in reason(path)


def test_heic_has_its_own_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
    assert "HEIC" in reason(path)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert "0 bytes" in reason(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".bmp", ".tif", ".ppm"])
@pytest.mark.parametrize("tolerant", [False, True])
def test_a_truncated_file_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, tolerant: bool
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
    whole = saved(tmp_path / f"a{suffix}", Image.fromarray(noise(64, 64))).read_bytes()
    path = tmp_path / f"b{suffix}"
    path.write_bytes(whole[: len(whole) // 2])
    assert "truncated" in reason(path)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(noise()))

    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert reason(path) == "not readable: no permission"


def test_a_folder_with_the_name_of_a_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").mkdir()
    assert "folder" in reason(tmp_path / "a.jpg")


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("gone.jpg")
    assert reason(tmp_path / "a.jpg") == "a link to 'gone.jpg', which does not exist"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    assert "not a regular file" in reason(tmp_path / "a.jpg")


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    decoded(saved(path, Image.fromarray(noise())))
    path.write_bytes(b"")
    found = decode(path)
    assert isinstance(found, BadImage)
    assert os.fsencode(found.path).endswith(b"\xff.png")


def test_broken_metadata_does_not_lose_a_image_and_says_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.fromarray(noise()), exif=b"Exif\0\0II*\0\xff\xff\0\0nonsense")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ignore_metadata_warnings()
        assert decoded(path).shape == (3, 20, 30)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".webp", ".bmp", ".tif", ".jp2", ".ico"])
def test_damage_of_any_kind_raises_nothing(tmp_path: Path, suffix: str) -> None:
    whole = np.frombuffer(saved(tmp_path / f"a{suffix}", Image.fromarray(noise())).read_bytes(), np.uint8)
    generator = np.random.default_rng(1)
    path = tmp_path / f"b{suffix}"
    outcomes = set()
    for _ in range(60):
        damaged = whole.copy()
        where = generator.integers(0, min(len(whole), 200), 6)
        damaged[where] = generator.integers(0, 256, 6)
        path.write_bytes(damaged.tobytes())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ignore_metadata_warnings()
            outcomes.add(type(decode(path, how=Decoding(8))))
    assert BadImage in outcomes


@pytest.mark.parametrize("shape", [(40, 20), (20, 40), (3, 5), (1, 300), (16, 16)])
@pytest.mark.parametrize("how", ["crop", "squash", "pad"])
def test_fit_gives_a_square_of_the_size(shape: tuple[int, int], how: Fit) -> None:
    found = module._tensor(fit(Upright(Image.new("RGB", shape, (10, 20, 30))), 16, how))
    assert found.shape == (3, 16, 16) and found.is_contiguous()
    assert found.flatten(1).amax(1).tolist() == [10, 20, 30]


def test_fit_crops_the_centre() -> None:
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = noise(10, 10)
    assert torch.equal(
        module._tensor(fit(Upright(Image.fromarray(wide)), 10)),
        torch.from_numpy(noise(10, 10)).permute(2, 0, 1),
    )


def test_fit_pads_with_black() -> None:
    found = module._tensor(fit(Upright(Image.new("RGB", (20, 10), "white")), 16, "pad"))
    assert found[0, :, 8].tolist() == [0] * 4 + [255] * 8 + [0] * 4


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    found = module._tensor(fit(Upright(Image.fromarray(stripes)), 8)).float()
    assert (found[:, :, 1:-1] - 127.5).abs().max() < 12


def test_a_reduced_scale_changes_a_image_little(tmp_path: Path) -> None:
    # The hardest case, noise: decoded at twice the size the mean error is 1.7 of 255, at the size itself 4.
    path = saved(tmp_path / "a.jpg", Image.fromarray(noise(128, 128)), quality=95, subsampling=0)
    found = decode(path, how=Decoding(16))
    assert isinstance(found, Tensor)
    whole = module._tensor(fit(Upright(Image.open(path)), 16))
    assert 0 < (found.float() - whole.float()).abs().mean() < 2.5


def test_a_reduced_scale_moves_nothing(tmp_path: Path) -> None:
    """Sides that 2, 4 and 8 do not divide: the decoder's last pixels stand for less than the others."""
    across = np.linspace(20, 235, 331)[None, :, None] * np.ones((267, 1, 3))
    path = saved(tmp_path / "a.jpg", Image.fromarray(across.astype(np.uint8)), quality=95)
    for size in (16, 32, 64, 66):
        for how in ("crop", "squash", "pad"):
            found = decode(path, how=Decoding(size, how))  # type: ignore[arg-type]
            assert isinstance(found, Tensor)
            whole = module._tensor(fit(Upright(Image.open(path)), size, how))  # type: ignore[arg-type]
            inner = slice(size // 4, size - size // 4)
            gap = (found.float() - whole.float())[:, inner, inner]
            assert gap.abs().max() <= 2 and gap.mean().abs() < 0.3, (size, how)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("how", ["crop", "squash", "pad"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_file_equals_the_upright_file(
    tmp_path: Path, orientation: int, how: Fit, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole and in strips, with paddings of an odd number of pixels."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for width, height, size in ((40, 24, 10), (41, 23, 16), (30, 13, 64), (16, 40, 9)):
        stored = Image.fromarray(noise(width, height))
        path = saved(tmp_path / f"a{suffix}", stored, exif=exif, lossless=True)
        upright = saved(tmp_path / "b.png", ImageOps.exif_transpose(Image.open(path)))
        for strip in (1 << 20, 50):
            monkeypatch.setattr(pixels, "STRIP_PIXELS", strip)
            decoding = Decoding(size if suffix != ".jpg" else max(size, 21), how)  # at full scale
            found, expected = decode(path, how=decoding), decode(upright, how=decoding)
            assert isinstance(found, Tensor) and isinstance(expected, Tensor)
            assert torch.equal(found, expected), (width, height, strip)


@pytest.mark.parametrize("how", ["crop", "squash", "pad"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_jpeg_at_a_reduced_scale(tmp_path: Path, orientation: int, how: Fit) -> None:
    """The decoder's last pixels, which stand for less than the others, are those of the stored image."""
    down, across = np.mgrid[20:235:203j, 20:235:331j]
    stored = Image.fromarray(np.stack([across, down, across], 2).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.jpg", stored, exif=exif, quality=98, subsampling=0)
    upright = ImageOps.exif_transpose(Image.open(path))
    found = decode(path, how=Decoding(24, how))
    assert isinstance(found, Tensor)
    gap = (found.float() - module._tensor(fit(Upright(upright), 24, how)).float())[:, 6:-6, 6:-6]
    assert gap.abs().max() <= 2 and gap.mean().abs() < 0.3
