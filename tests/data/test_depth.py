"""Images with more than 8 bits: black and white are decided once per folder, stated, stored and settable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from equissl.data.files import folder_intensity as module
from equissl.data.files.decode import Decoding, decode
from equissl.data.files.depth import Extremes, IntensityRange, decide
from equissl.data.image_folder import ImageFolder, write_images
from equissl.errors import UserError

Values = NDArray[np.generic]


def saved(folder: Path, images: dict[str, Values]) -> ImageFolder:
    for name, values in images.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), values) if values.ndim == 0 else values).save(path)
    return ImageFolder(str(folder), size=4, test_fraction=0.0)


def grey(data: ImageFolder) -> list[list[int]]:
    """Smallest and largest grey level of each image."""
    dataset = data.open("train")
    images = dataset.batch(torch.arange(len(dataset))).images["image"].flatten(1)
    return [[int(image.min()), int(image.max())] for image in images]


def halves(low: float, high: float, dtype: str = "f4") -> Values:
    return np.repeat(np.array([low, low, high, high], dtype=dtype)[:, None], 4, 1)


@pytest.mark.parametrize("memory_gb", [2.0, 0.0])
def test_floats_of_0_to_1_with_one_pixel_above(tmp_path: Path, memory_gb: float) -> None:
    for name, odd in (("a", 1.01), ("b", 1.0)):
        values = halves(0.25, 0.75)
        values[0, 0] = odd
        data = saved(tmp_path / name, {"0.tif": values})
        image = replace(data, memory_gb=memory_gb).open("train").batch(torch.tensor([0])).images["image"][0]
        assert image[0, :, 3].tolist() == [64, 64, 191, 191]
        assert image[0, 0, 0] == 255


def test_one_odd_image_does_not_change_the_range_of_a_folder(tmp_path: Path) -> None:
    images = {f"{k}.tif": halves(0.2, 0.8) for k in range(4)} | {"odd.tif": halves(0.2, 40.0)}
    assert grey(saved(tmp_path, images)) == [[51, 204]] * 4 + [[51, 255]]


def test_brightness_between_floats_is_kept(tmp_path: Path) -> None:
    images = {f"{k}.tif": halves(10.0 * k, 10.0 * k + 10) for k in range(10)}
    found = grey(saved(tmp_path, images))
    assert [low for low, _ in found] == [pytest.approx(25.5 * k, abs=0.51) for k in range(10)]
    assert found[-1][1] == 255


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_bits_in_sixteen_are_found_from_all_images(tmp_path: Path, bits: int, suffix: str) -> None:
    white = 2**bits - 1
    levels = (white, white // 2, white // 8)  # the dark ones keep their brightness
    data = saved(tmp_path, {f"{k}{suffix}": halves(0, v, "u2") for k, v in enumerate(levels)})
    assert data.resolve().integer_range == (0, white)
    assert [high for _, high in grey(data)] == [pytest.approx(255 * v / white, abs=0.5) for v in levels]


@pytest.mark.parametrize(
    ("dtype", "low", "high", "expected"),
    [
        ("i2", -1024, 3071, (-1024, 3071)),
        ("i4", 0, 4000, (0, 4095)),
        ("i4", 5, 1_000_000, (5, 1_000_000)),
        ("i4", -7, 40, (-7, 40)),
        (">u2", 0, 4000, (0, 4095)),
    ],
)
def test_other_whole_numbers(
    tmp_path: Path, dtype: str, low: int, high: int, expected: tuple[float, float]
) -> None:
    values = halves(low, high, dtype)
    if dtype in ("i2", ">u2"):  # which Pillow reads but does not write
        write_tiff(tmp_path / "0.tif", values)
        data = ImageFolder(str(tmp_path), size=4, test_fraction=0.0)
    else:
        data = saved(tmp_path, {"0.tif": values})
    assert data.resolve().integer_range == expected
    assert grey(data)[0] == [0, round(255 * (high - expected[0]) / (expected[1] - expected[0]))]


def write_tiff(path: Path, values: Values) -> None:
    """A minimal uncompressed TIFF of one strip, in the byte order of ``values``."""
    order = ">" if values.dtype.byteorder == ">" else "<"
    entries = {256: values.shape[1], 257: values.shape[0], 258: 16, 259: 1, 262: 1, 273: 8, 277: 1}
    entries |= {278: values.shape[0], 279: values.nbytes, 339: 2 if values.dtype.kind == "i" else 1}
    start = np.array([8 + values.nbytes], f"{order}u4").tobytes()
    rows = [
        np.array([t, 4], f"{order}u2").tobytes() + np.array([1, v], f"{order}u4").tobytes()
        for t, v in entries.items()
    ]
    body = values.tobytes() + np.array([len(rows)], f"{order}u2").tobytes() + b"".join(rows) + bytes(4)
    magic = b"MM\0*" if order == ">" else b"II*\0"
    path.write_bytes(magic + start + body)


def test_the_range_can_be_set(tmp_path: Path) -> None:
    data = saved(tmp_path, {"0.png": halves(100, 200, "u2"), "1.tif": halves(0.2, 0.4)})
    assert grey(replace(data, integer_range=(100, 200), float_range=(0, 0.4))) == [[0, 255], [128, 255]]
    for value in ((5, 5), (9, 2)):
        with pytest.raises(UserError, match=r"integer_range must be black and white, two rising"):
            replace(data, integer_range=value)


def test_a_kind_that_nothing_decided_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a folder of thousands in which no sampled file was a float."""
    data = saved(tmp_path, {f"{k}.png": halves(0, 4000, "u2") for k in range(3)})
    resolved = data.resolve()
    saved(tmp_path, {"9.tif": halves(0, 1)})
    monkeypatch.setattr(module, "MAX_HEADERS", 0)
    found = replace(resolved, max_bad_fraction=0.5).open("train")
    assert [b.path for b in found.bad_images] == ["9.tif"]
    assert "unlike the files that the intensity range was decided from; set data.float_range" in (
        found.bad_images[0].reason
    )


def test_not_a_number_is_bad(tmp_path: Path) -> None:
    images = {f"{k}.tif": halves(0, 1) for k in range(3)} | {"bad.tif": halves(0, np.nan)}
    found = replace(saved(tmp_path, images), max_bad_fraction=0.5).open("train")
    assert [(b.path, b.reason) for b in found.bad_images] == [
        ("bad.tif", "not finite: it holds NaN or infinite values; replace them")
    ]


def test_every_split_and_limit_has_the_range_of_the_whole_folder(tmp_path: Path) -> None:
    images = {f"{k}.png": halves(0, 100 * k + 50, "u2") for k in range(30)}
    data = replace(saved(tmp_path, images), test_fraction=0.3)
    resolved = data.resolve()
    assert resolved.integer_range == (0, 4095)
    for split in ("train", "test"):
        for limit in (None, 3):
            a = replace(data, limit=limit).open(split)  # type: ignore[arg-type]
            b = replace(resolved, limit=limit).open(split)  # type: ignore[arg-type]
            assert a.digest == b.digest


def test_a_resolved_folder_keeps_its_range_when_files_are_added(tmp_path: Path) -> None:
    data = saved(tmp_path, {"0.png": halves(0, 4000, "u2")}).resolve()
    saved(tmp_path, {"1.png": halves(0, 60000, "u2")})
    assert data.resolve() == data
    assert grey(data) == [[0, 249], [0, 255]]


def test_a_bounded_number_of_files_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(tmp_path, {f"{k}.png": halves(0, 60000, "u2") for k in range(40)})
    monkeypatch.setattr(module, "MAX_HEADERS", 20)
    monkeypatch.setattr(module, "MAX_DECODED", 5)
    read: list[str] = []
    original = module.read_extremes
    monkeypatch.setattr(module, "read_extremes", lambda p, n, h: read.append(n) or original(p, n, h))
    assert data.resolve().integer_range == (0, 65535)
    first = sorted(read)
    read.clear()
    data.resolve()
    assert len(first) == 5 and sorted(read) == first


def test_folders_of_eight_bits_are_as_before(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 4})
    data = ImageFolder(str(tmp_path), size=12, test_fraction=0.0)
    assert data.resolve() == data
    found = data.open("train").batch(torch.tensor([2])).images["image"][0].permute(1, 2, 0)
    assert np.array_equal(found.numpy(), np.asarray(Image.open(tmp_path / "a" / "2.png")))


def test_the_streamed_digest_holds_the_range(tmp_path: Path) -> None:
    data = replace(saved(tmp_path, {"0.png": halves(0, 4000, "u2")}), memory_gb=0.0)
    assert data.open("train").digest != replace(data, integer_range=(0, 65535)).open("train").digest


def test_floats_that_are_bytes(tmp_path: Path) -> None:
    assert decide([Extremes("float", 0, 204)]) == IntensityRange(None, (0, 255))
    assert decide([Extremes("float", 0, 30)]) == IntensityRange(None, (0, 30))
    assert decide([Extremes("float", -1, 1)]) == IntensityRange(None, (-1, 1))
    assert decide([Extremes("float", 0, 0)]) == IntensityRange(None, (0, 1))


def test_decoding_one_file_decides_by_itself(tmp_path: Path) -> None:
    saved(tmp_path, {"0.png": halves(0, 4095, "u2")})
    found = decode(tmp_path / "0.png", how=Decoding(4))
    assert isinstance(found, Tensor) and found[0, :, 0].tolist() == [0, 0, 255, 255]
    fixed = decode(tmp_path / "0.png", how=Decoding(4, intensity=IntensityRange((0, 65535))))
    assert isinstance(fixed, Tensor) and fixed[0, :, 0].tolist() == [0, 0, 16, 16]
