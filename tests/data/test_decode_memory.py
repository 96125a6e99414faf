"""Memory of large images: strips give the same numbers, the estimate holds, and threads share a budget."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from torch import Tensor

from equissl.data.base import BadImage
from equissl.data.files import decode as module
from equissl.data.files import depth, pixels
from equissl.data.files.decode import Decoding, decode, read_header
from equissl.data.files.memory import STRIP_PIXELS, MemoryBudget, decoding_bytes
from equissl.data.image_folder import ImageFolder, write_images
from equissl.errors import UserError

PEAK = """
import resource, sys
from pathlib import Path
from equissl.data.files.decode import Decoding, decode
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
decode(Path(sys.argv[1]), how=Decoding(64))
before = peak()
for name in sys.argv[2:]:
    decode(Path(name), how=Decoding(64))
    print(peak() - before)
"""


def grey(width: int, height: int) -> np.ndarray:
    return (np.add.outer(np.arange(height), 3 * np.arange(width)) % 251).astype(np.uint8)


def palette(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values).convert("P")


Maker = Callable[[np.ndarray, Path], None]
MAKERS: dict[str, Maker] = {
    "16-bit.png": lambda v, p: Image.fromarray(v.astype(np.uint16) * 250).save(p, compress_level=1),
    "big-endian.tif": lambda v, p: Image.fromarray(v.astype(">u2") * 250).save(p),
    "32-bit.tif": lambda v, p: Image.fromarray(v.astype(np.int32) - 100).save(p),
    "float-lzw.tif": lambda v, p: Image.fromarray(v.astype(np.float32) / 251).save(p, compression="tiff_lzw"),
    "one-strip.tif": lambda v, p: Image.fromarray(v).save(p, compression="tiff_lzw", tiffinfo={278: len(v)}),
    "palette.png": lambda v, p: palette(v).save(p, transparency=bytes(range(256)), compress_level=1),
    "grey-alpha.png": lambda v, p: Image.merge("LA", [Image.fromarray(v)] * 2).save(p, compress_level=1),
    "transparent-value.png": lambda v, p: Image.fromarray(v).save(p, transparency=7, compress_level=1),
    "rgba.png": lambda v, p: Image.fromarray(np.dstack([v] * 4)).save(p, compress_level=1),
    "rgb.png": lambda v, p: Image.fromarray(np.dstack([v] * 3)).save(p, compress_level=1),
    "one-bit.tif": lambda v, p: Image.fromarray(v).convert("1").save(p, compression="group4"),
    "cmyk.jpg": lambda v, p: Image.fromarray(np.dstack([v] * 4), "CMYK").save(p),
    "lab.tif": lambda v, p: Image.fromarray(np.dstack([v] * 3), "LAB").save(p),
    "animation.gif": lambda v, p: palette(v).save(p, save_all=True, append_images=[palette(255 - v)]),
    "animation.webp": lambda v, p: Image.fromarray(v).save(
        p, save_all=True, append_images=[Image.fromarray(255 - v)], method=0
    ),
    "a.jp2": lambda v, p: Image.fromarray(v).save(p),
    "progressive.jpg": lambda v, p: Image.fromarray(v).save(p, progressive=True),
}


@pytest.mark.parametrize("how", ["crop", "squash", "pad"])
@pytest.mark.parametrize("name", MAKERS)
def test_strips_give_the_same_numbers(
    tmp_path: Path, name: str, how: pixels.Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    for width, height in ((90, 61), (33, 120)):
        MAKERS[name](grey(width, height), tmp_path / name)
        for size in (13, 64):
            decoding = Decoding(size, how)
            whole = decode(tmp_path / name, how=decoding)
            with monkeypatch.context() as patched:
                for used in (pixels, depth):
                    patched.setattr(used, "STRIP_PIXELS", 7 * width)
                strips = decode(tmp_path / name, how=decoding)
            assert isinstance(whole, Tensor) and isinstance(strips, Tensor)
            assert torch.equal(whole, strips), (width, size)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory in the unit of Linux")
def test_the_estimate_bounds_the_memory_of_every_kind_of_file(tmp_path: Path) -> None:
    """Largest last, as the peak only grows; 20 MB are allowed for the libraries themselves."""
    estimates: dict[str, int] = {}
    for name in sorted(set(MAKERS) - {"lab.tif"}):  # which Pillow converts slowly
        MAKERS[name](grey(1600, 1500), tmp_path / name)
        with module._opened(tmp_path / name) as image:
            estimates[name] = decoding_bytes(image, 64)
    names = sorted(estimates, key=lambda name: estimates[name])
    MAKERS["rgb.png"](grey(9, 9), tmp_path / "small.png")
    paths = [str(tmp_path / name) for name in ("small.png", *names)]
    command = [sys.executable, "-c", PEAK, *paths]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    for name, peak in zip(names, map(int, found), strict=True):
        assert peak < estimates[name] + 20e6, (name, peak)
        per_pixel = (estimates[name] - 48 * STRIP_PIXELS) / (1600 * 1500)
        assert per_pixel < (33 if "webp" in name else 21 if "jp2" in name else 10), name


def test_an_image_that_needs_more_than_the_budget_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    MAKERS["16-bit.png"](grey(400, 300), path)
    small = Decoding(16, memory_gb=1e-3)
    for found in (decode(path, how=small), read_header(path, how=small)):
        assert isinstance(found, BadImage)
        assert found.reason == (
            "too large: 400 x 300 pixels need 0.0063 GB of memory to decode, more than "
            "data.decoding_gb=0.001; make it smaller, or raise that"
        )
    assert isinstance(decode(path, how=Decoding(16, memory_gb=0.01)), Tensor)


def test_a_folder_takes_the_budget(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 4}, side=40)
    data = ImageFolder(str(tmp_path), size=8, test_fraction=0.0, decoding_gb=1e-5)
    for memory_gb in (2.0, 0.0):
        with pytest.raises(UserError, match=r"more than data.decoding_gb=1e-05"):
            replace(data, memory_gb=memory_gb).open("train")
    assert len(replace(data, decoding_gb=1e-3).open("train")) == 4
    with pytest.raises(UserError, match="decoding_gb must be above 0, got 0"):
        ImageFolder("x", decoding_gb=0)


def test_threads_wait_until_their_images_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four threads, a budget of two images: never more than two are loaded at once; in the end all are."""
    path = tmp_path / "a.png"
    MAKERS["16-bit.png"](grey(100, 100), path)
    with module._opened(path) as image:
        needed = decoding_bytes(image, 8)
    lock, inside, most = threading.Lock(), [0], [0]
    load = ImageFile.ImageFile.load

    def counted(self: ImageFile.ImageFile) -> object:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        threading.Event().wait(0.01)
        with lock:
            inside[0] -= 1
        return load(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", counted)
    decoding = Decoding(8, memory_gb=2.5 * needed / 1e9)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: decode(path, how=decoding), range(16)))
    assert all(isinstance(image, Tensor) for image in found)
    assert most[0] == 2


def test_a_reservation_above_the_limit_waits_until_it_is_alone() -> None:
    budget, entered = MemoryBudget(), threading.Event()

    def large() -> None:
        with budget.reserve(100, limit=10):
            entered.set()

    thread = threading.Thread(target=large)
    with budget.reserve(1, limit=10):
        thread.start()
        assert not entered.wait(0.05)
    assert entered.wait(5)
    thread.join()


def test_a_failure_gives_its_memory_back(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    MAKERS["16-bit.png"](grey(100, 100), path)
    path.write_bytes(path.read_bytes()[:300])
    assert isinstance(decode(path, how=Decoding(8)), BadImage)
    assert module._MEMORY._reserved == 0
