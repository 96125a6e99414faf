"""Mutated image files of every format: each is decoded or listed as bad, as Pillow judges it."""

from __future__ import annotations

import io
import random
import resource
from dataclasses import dataclass
from pathlib import Path

from forked import Child

COUNT = 100
EACH = 50  # files
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO", "TGA", "JPEG2000", "SGI", "PCX", "DDS")
MODES = ("RGB", "L", "RGBA", "P", "1", "CMYK", "LA", "I;16", "F", "YCbCr", "LAB")
MEMORY = 4 << 30  # bytes of address space beyond what the process has


@dataclass(frozen=True)
class Sources:
    files: list[tuple[str, bytes]]  # suffix and content


def prepare(folder: Path) -> Sources:
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (24, 33, 3), dtype=np.uint8)
    files = []
    for name in FORMATS:
        for mode in MODES:
            image = Image.fromarray(noise)
            image = image.convert("L").convert("F") if mode == "F" else image
            image = image.convert("L").convert("I;16") if mode == "I;16" else image
            for options in ({}, {"compression": "tiff_lzw"}, {"progressive": True}):
                stored = io.BytesIO()
                try:
                    made = image if mode in ("F", "I;16") else image.convert(mode)
                    made.save(stored, name, **options)
                except (OSError, ValueError, KeyError):
                    continue
                suffix = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}.get(name, f".{name.lower()}")
                files.append((suffix, stored.getvalue()))
    return Sources(files)


def mutated(content: bytes, draw: random.Random) -> bytes:
    """A copy with a few bytes changed, removed, repeated or added."""
    data = bytearray(content)
    for _ in range(draw.choice((0, 1, 1, 2, 5, 20))):
        if not data:
            break
        at = draw.randrange(len(data)) if draw.random() < 0.5 else draw.randrange(min(64, len(data)))
        length = draw.choice((1, 1, 2, 4, 8, 64))
        kind = draw.randrange(7)
        if kind == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[at : at + length] = draw.randbytes(length)
        elif kind == 2:
            data[at : at + length] = bytes([draw.choice((0, 255))]) * length
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            del data[at : at + length]
        elif kind == 5:
            data[at:at] = data[at : at + length]
        else:
            data[at:at] = draw.randbytes(length)
    return bytes(data)


def attempt(sources: Sources, folder: Path, draw: random.Random, number: int) -> str:
    photos = folder / "photos"
    photos.mkdir()
    for k in range(EACH):
        suffix, content = draw.choice(sources.files)
        (photos / f"{k:02}{suffix}").write_bytes(mutated(content, draw))
    done = Child(lambda: _judge(photos, number % 2 == 1), folder / "judge.log").wait(300)
    return done.fault(0)


def _judge(photos: Path, streamed: bool) -> int:
    """Exit code 0 if the dataset holds the files that Pillow can decode; otherwise prints which differ."""
    import torch

    from equissl.data import ImageFolder
    from equissl.errors import UserError

    used = sum(int(n) for n in Path("/proc/self/statm").read_text().split()[:1]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    memory = 0.0 if streamed else 2.0
    data = ImageFolder(
        str(photos), size=16, test_fraction=0, max_bad_fraction=1.0, memory_gb=memory, num_workers=2
    )
    try:
        dataset = data.open("train")
    except UserError as error:
        print(error)
        return 0 if not any(map(_pillow, sorted(photos.iterdir()))) else 1
    if len(dataset):
        images = dataset.batch(torch.arange(len(dataset))).images["image"]
        assert images.dtype == torch.uint8 and images.shape[1:] == (3, 16, 16), images.shape
    bad = {b.path: b.reason for b in dataset.bad_images}
    good = set(dataset.files) - set(bad)
    wrong = []
    for path in sorted(photos.iterdir()):
        listed = path.name in good or path.name in bad
        if listed and (path.name in good) != _pillow(path) and not _ours_alone(bad.get(path.name, "")):
            wrong.append(f"{path.name} is {'good' if path.name in good else bad[path.name]!r}")
    print("\n".join(wrong))
    return 3 if wrong else 0


def _ours_alone(reason: str) -> bool:
    """A reason to refuse a file that Pillow decodes, which the documentation states."""
    return any(
        word in reason
        for word in ("pixels", "not finite", "memory", "too large", "intensity range", "frames")
    )


def _pillow(path: Path) -> bool:
    import warnings

    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as image:
                image.load()
        except Exception:
            return False
    return True
