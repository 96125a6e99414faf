"""How fast JPEG files become stored images, and what decoding at a reduced scale costs in exactness.

``uv run python benchmarks/decode.py`` makes synthetic JPEG files of 1000 pixels and prints two tables; with
``data=DIR`` it measures the images of a folder instead.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from equissl.data.files.decode import Decoding, decode
from equissl.data.files.pixels import Upright, fit
from equissl.data.image_folder import ImageFolder

SIZES = (32, 64, 96, 128, 224, 256)
COUNT, ROUNDS = 40, 5


def main(words: list[str]) -> None:
    torch.set_num_threads(1)
    given = dict(word.split("=", 1) for word in words)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.get("data", temporary))
        if "data" not in given:
            synthetic(folder)
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))[:COUNT]
        table(files)
        resident(folder)


def synthetic(folder: Path, side: int = 1000) -> None:
    """Images whose spectrum falls like that of photographs (amplitude as 1 / frequency), and as noisy."""
    generator = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij"))
    frequency[0, 0] = 1
    for k in range(COUNT):
        spectrum = np.fft.rfft2(generator.standard_normal((3, side, side))) / frequency
        smooth = np.fft.irfft2(spectrum, (side, side))
        smooth = 128 + 50 * smooth / smooth.std() + generator.normal(0, 3, smooth.shape)
        pixels = smooth.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(pixels).save(folder / f"{k:03d}.jpg", quality=90)


def whole(path: Path, size: int) -> torch.Tensor:
    """The same image decoded at full scale: what is compared with."""
    with Image.open(path) as image:
        square = fit(Upright(image), size)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


def table(files: list[Path]) -> None:
    """Speed on one core, interleaved in one process, and the difference, per stored size."""
    print(f"{len(files)} JPEG files, one thread, median of {ROUNDS} interleaved rounds (least to most)")
    print("size   full scale /s          decode() /s          ratio   mean error   99.9 %   largest (of 255)")
    for size in SIZES:
        slow: list[float] = []
        fast: list[float] = []
        ratio: list[float] = []
        for _ in range(ROUNDS):
            slow.append(rate(lambda path, size=size: whole(path, size), files))
            fast.append(rate(lambda path, size=size: decode(path, how=Decoding(size)), files))
            ratio.append(fast[-1] / slow[-1])
        gaps = torch.cat([difference(path, size) for path in files])
        far = float(np.quantile(gaps.numpy(), 0.999))
        print(
            f"{size:4d}   {spread(slow):20s}   {spread(fast):20s}   {statistics.median(ratio):5.2f}   "
            f"{gaps.mean():10.3f}   {far:6.1f}   {gaps.max():7.0f}"
        )


def difference(path: Path, size: int) -> torch.Tensor:
    found = decode(path, how=Decoding(size))
    assert isinstance(found, torch.Tensor), found
    return (found.float() - whole(path, size).float()).abs().flatten()


def rate(work: Callable[[Path], object], files: list[Path]) -> float:
    began = time.perf_counter()
    for path in files:
        work(path)
    return len(files) / (time.perf_counter() - began)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def resident(folder: Path, size: int = 224) -> None:
    """Batches from memory against batches decoded each time, and threads."""
    print(f"\nbatches of {COUNT} at {size} px, images per second")
    index = torch.arange(COUNT)
    for name, memory, workers in (
        ("decoded when used, 1 thread", 0.0, 1),
        ("decoded when used, 2 threads", 0.0, 2),
        ("resident in memory", 2.0, 0),
    ):
        data = ImageFolder(
            str(folder), size, limit=COUNT, test_fraction=0.0, memory_gb=memory, num_workers=workers
        )
        dataset = data.open("train")
        values = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            dataset.batch(index[: len(dataset)])
            values.append(len(dataset) / (time.perf_counter() - began))
        print(f"{name:30s} {spread(values)}")


if __name__ == "__main__":
    main(sys.argv[1:])
