"""A folder of images that loses, gains or changes files between a stop and a resume, or while it is read."""

from __future__ import annotations

import os
import random
import shutil
import threading
from pathlib import Path

from forked import equissl, start
from training import Reference, digest, go_on, pretrain_words, reference

COUNT = 40


def prepare(folder: Path) -> Reference:
    return reference(folder)


def change(kind: str, photos: Path, draw: random.Random) -> None:
    """Change one file or a few in a folder of images."""
    files = sorted(photos.rglob("*.png"))
    file = draw.choice(files)
    if kind == "read":
        file.read_bytes()
    elif kind == "touch":
        os.utime(file, (1, 1))
    elif kind == "remove":
        file.unlink()
    elif kind == "add":
        shutil.copy(file, file.with_name("added.png"))
    elif kind == "replace":
        other = draw.choice([f for f in files if f != file])
        shutil.copy(other, file)
    elif kind == "pixel":
        from PIL import Image

        with Image.open(file) as image:
            changed = image.convert("RGB")
        changed.putpixel((3, 3), (1, 2, 3) if changed.getpixel((3, 3)) != (1, 2, 3) else (4, 5, 6))
        changed.save(file)
    elif kind == "rename":
        file.rename(file.with_name("renamed.png"))
    elif kind == "truncate":
        file.write_bytes(file.read_bytes()[:60])
    elif kind == "folder":
        file.unlink()
        file.mkdir()
    elif kind == "loop":
        file.unlink()
        file.symlink_to(file.name)
    elif kind == "all":
        shutil.rmtree(photos)


KINDS = ("read", "touch", "remove", "add", "replace", "pixel", "rename", "truncate", "folder", "loop", "all")


def attempt(reference: Reference, folder: Path, draw: random.Random, number: int) -> str:
    photos, out = folder / "photos", folder / "run"
    shutil.copytree(reference.photos, photos)
    kind = KINDS[number % len(KINDS)]
    if number % 3 == 2:
        return _while_read(kind, photos, folder, draw)
    if problem := equissl(pretrain_words(photos, out, "stop_after=3"), folder).fault(130):
        return problem
    change(kind, photos, draw)
    done = go_on(reference, out, folder)
    if problem := done.fault(0, 2):
        return f"{kind}: {problem}"
    # Some changes leave the training images as they were: of a test image, or a name that sorts alike.
    if done.code == 0 and digest(out) != reference.digest:
        return f"{kind}: another result: {done.output[-300:]}"
    return f"{kind}: refused: {done.output[-300:]}" if done.code and kind == "read" else ""


def _while_read(kind: str, photos: Path, folder: Path, draw: random.Random) -> str:
    """Change files while a command reads them as a stream."""
    out = folder / "a.csv"
    words = ["embed", "timm/test_resnet", f"data={photos}", f"out={out}", "size=16", "device=cpu"]
    child = start(words, folder)
    timer = threading.Timer(draw.uniform(0, 0.5), change, (kind, photos, draw))
    timer.start()
    done = child.wait()
    timer.join()
    if problem := done.fault(0, 2):
        return f"{kind} while embedding: {problem}"
    if done.code == 0 and len(out.read_text(encoding="utf-8").splitlines()) < 2:
        return f"{kind} while embedding: no rows"
    return ""
