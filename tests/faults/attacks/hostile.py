"""Malicious checkpoints, weights, archives, labels and file names: nothing of theirs runs or gets out."""

from __future__ import annotations

import csv
import io
import os
import pickle
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forked import equissl
from limits import confined, violations
from training import pretrain_words, trained_runs

COUNT = 240
NAMES = (
    *(
        b"\xff\xfe.png",
        b"=cmd|' C calc'!A0.png",
        b"+1.png",
        b"@SUM(1).png",
        b"-rf.png",
        b"\x1b]0;owned\x07.png",
    ),
    *(
        b"\x1b[2J.png",
        b"a\nb.png",
        b"a\r.png",
        b"\t.png",
        b'a,b".png',
        b"<img src=x onerror=alert(1)>.png",
        b"..png",
        b" .png",
    ),
    *(
        "\u202egnp.exe.png".encode(),
        "e\u0301.png".encode(),
        "\u00e9.png".encode(),
        b"%s%n{0}.png",
        b"$(id).png",
    ),
    *(
        b"n" * 240 + b".png",
        b"nul.png",
        b"'; DROP TABLE images;--.png",
        b"&amp;.png",
        b"a=b.png",
        b"@file.png",
    ),
)


class Payload:
    """Unpickled, it makes a folder called ``owned``."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, ("owned",)


def prepare(folder: Path) -> Path:
    return trained_runs(folder)


def poisoned(content: bytes, draw: random.Random) -> bytes:
    """A weight file or checkpoint that is a pickle with a payload, or damaged."""
    kind = draw.randrange(5)
    if kind == 0:
        return pickle.dumps(Payload())
    if kind == 1:
        return pickle.dumps({"state_dict": {"conv1.weight": Payload()}, "format": 1})
    if kind == 2:
        return content[: draw.randrange(len(content))]
    if kind == 3:
        return draw.randbytes(draw.randrange(1, 5000))
    damaged = bytearray(content)
    damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def checkpoints(work: Path, draw: random.Random) -> tuple[list[str], tuple[int, ...]]:
    path = work / "stopped" / "checkpoints" / "last.pt"
    path.write_bytes(poisoned(path.read_bytes(), draw))
    verb = draw.choice((["resume", "stopped", "device=cpu"], ["export", "stopped", "out=exported"]))
    return verb, (0, 2)


def weights(work: Path, draw: random.Random) -> tuple[list[str], tuple[int, ...]]:
    source = work / "run" / "export" / "model.safetensors"
    name = draw.choice(("w.pt", "w.safetensors", "w.bin", "w.pth.tar"))
    (work / name).write_bytes(poisoned(source.read_bytes(), draw))
    return [
        "embed",
        "timm/test_resnet",
        "data=photos",
        "out=a.npz",
        f"weights={name}",
        "size=16",
        "device=cpu",
    ], (0, 2)


def names(work: Path, draw: random.Random) -> tuple[list[str], tuple[int, ...]]:
    image = next((work / "photos").rglob("*.png")).read_bytes()
    folder = os.fsencode(work / "photos" / "cats")
    for name in draw.sample(NAMES, 6):
        bad = draw.random() < 0.3
        with open(os.path.join(folder, name), "wb") as file:
            file.write(image[:50] if bad else image)
    commands = (
        ["embed", "run", "data=photos", "out=a.csv", "device=cpu"],
        ["embed", "run", "data=photos", "out=a.npz", "device=cpu"],
        ["check", "photos", "views=views.html", "count=24"],
        ["evaluate", "run", "data=photos", "labels=folders", "evaluations=knn", "device=cpu"],
        pretrain_words(Path("photos"), Path("new"), "stop_after=2", "data.max_bad_fraction=1"),
        ["audit", "run", "data=photos", "count=18", "factors=hue", "out=audit", "device=cpu"],
    )
    return draw.choice(commands), (0, 2, 130)


def labels(work: Path, draw: random.Random) -> tuple[list[str], tuple[int, ...]]:
    files = [str(p.relative_to(work / "photos")) for p in sorted((work / "photos").rglob("*.png"))]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(draw.choice((["file", "label"], ["label", "file"], ["a", "b"], ["file"], [])))
    hostile = ("=1+1", "\x1b[31m", "", "<b>", "a" * 200_000, "\0", "é", "nan", "-1", "../x", '"', "1e999")
    for k, file in enumerate(files):
        writer.writerow([file, draw.choice(hostile) if draw.random() < 0.4 else str(k % 2)])
    content = text.getvalue().encode()
    if draw.random() < 0.3:
        content = content[: draw.randrange(len(content))] + draw.randbytes(9)
    (work / "labels.csv").write_bytes(content)
    words = ["evaluate", "run", "data=photos", "labels=labels.csv", "evaluations=knn", "device=cpu"]
    return words, (0, 2)


def archives(work: Path, draw: random.Random) -> tuple[list[str], tuple[int, ...]]:
    """A CIFAR-10 archive with members that leave the folder, links, devices or a payload."""
    stored = io.BytesIO()
    with tarfile.open(fileobj=stored, mode="w:gz") as archive:
        for name in (
            "cifar-10-batches-py/data_batch_1",
            "../owned",
            "/tmp/owned",
            "cifar-10-batches-py/../../owned",
        ):
            member = tarfile.TarInfo(name)
            content = pickle.dumps(Payload())
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("cifar-10-batches-py/data_batch_2")
        link.type, link.linkname = draw.choice((tarfile.SYMTYPE, tarfile.LNKTYPE)), "/etc/passwd"
        archive.addfile(link)
        device = tarfile.TarInfo("cifar-10-batches-py/test_batch")
        device.type = draw.choice((tarfile.CHRTYPE, tarfile.FIFOTYPE))
        archive.addfile(device)
    content = stored.getvalue()
    folder = work / "cifar"
    folder.mkdir()
    end = len(content) if draw.random() < 0.5 else draw.randrange(len(content))
    (folder / "cifar-10-python.tar.gz").write_bytes(content[:end])
    words = pretrain_words(Path("cifar"), Path("new"), "recipe=equimod.simclr_cifar10", "stop_after=1")
    return [*words[:1], *words[2:], "data.path=cifar"], (2,)


KINDS = (checkpoints, weights, names, labels, archives, names)


def attempt(prepared: Path, folder: Path, draw: random.Random, number: int) -> str:
    work = folder / "work"
    shutil.copytree(prepared, work)
    kind = KINDS[number % len(KINDS)]
    words, codes = kind(work, draw)
    done = equissl(words, work, confined(work))
    problem = violations(work) or done.fault(*codes)
    if not problem and list(folder.rglob("owned")):
        problem = "its code was run, or it left its folder"
    if not problem and "\x1b" in done.output:
        problem = f"escape characters on the terminal: {done.output!r}"
    if not problem:
        problem = _formulas(work)
    return f"{kind.__name__}: {words}: {problem}" if problem else ""


def _formulas(work: Path) -> str:
    """Cells of written tables that a spreadsheet would run."""
    for table in work.rglob("*.csv"):
        if table.name == "labels.csv":
            continue
        with table.open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.reader(file):
                for cell in row:
                    if cell[:1] in ("=", "+", "@", "\t", "\r") or (cell[:1] == "-" and not _number(cell)):
                        return f"{table.name} holds the cell {cell!r}"
    return ""


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
