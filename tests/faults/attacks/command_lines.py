"""Mutated command lines: each works or ends in words, within its folder and without the network."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from forked import equissl
from limits import TIMEOUT, confined, violations
from training import pretrain_words, write_photos

COUNT = 2000
FEW = ("size=16", "device=cpu")
VALUES = (
    *(
        "",
        "x",
        "0",
        "-1",
        "1",
        "2",
        "1.5",
        "1e400",
        "nan",
        "inf",
        "18446744073709551616",
        "0x10",
        "true",
        "null",
    ),
    *(
        "[]",
        "[0]",
        "[-3]",
        "[1,2",
        "{}",
        '{"a":1}',
        "()",
        "1,2",
        ",",
        "hue",
        "hue,crop",
        "none",
        "folders",
        "auto",
    ),
    *(
        ":",
        "a:b",
        "os:system",
        "equissl:main",
        "equissl.training:AdamW",
        "equissl.optimize:AdamW",
        "cuda",
        "cpu",
    ),
    *(
        "equissl.invariance:VICReg",
        "equissl.augment:Crop",
        "equissl.encoder:EncoderConfig",
        "equissl.data:Solids",
    ),
    *(
        "..",
        ".",
        "/",
        "~",
        "-",
        "--",
        "=",
        "a=b",
        "/dev/null",
        "/proc/self/mem",
        "a\nb",
        "\x1b[31m",
        "é",
        "\udcff",
    ),
    *(
        "photos",
        "photos/cats/0.png",
        "run",
        "run/export",
        "run/recipe.json",
        "timm/test_resnet",
        "timm/nosuch",
    ),
    *(
        "resnet18",
        "vit_tiny_patch16_224",
        "test_vit",
        "recipe.csv",
        "a.npz",
        "a.csv",
        "a.html",
        "x" * 300,
        "run@x",
    ),
)
KEYS = (
    *(
        "data",
        "out",
        "recipe",
        "keep",
        "ignore",
        "labels",
        "trust",
        "device",
        "devices",
        "loggers",
        "log_every",
    ),
    *(
        "save_every",
        "stop_after",
        "seed",
        "count",
        "factors",
        "size",
        "weights",
        "evaluations",
        "test",
        "steer",
    ),
    *("format", "match", "views", "limit", "seeds", "only", "epochs", "batch_size", "precision", "engine"),
    *(
        "encoder",
        "encoder.name",
        "encoder.stem",
        "encoder.size",
        "encoder.mean.2",
        "encoder.mean",
        "encoder.parts",
    ),
    *("encoder.options", "encoder.weights", "encoder.width", "base", "base.projector", "base.temperature"),
    *(
        "base.nosuch",
        "modules",
        "modules.augself",
        "modules.augself.weight",
        "modules.augself.module",
        "views.a",
    ),
    *("views.a.0", "data.size", "data.limit", "data.fit", "data.num_workers", "data.memory_gb", "optimizer"),
    *("optimizer.lr", "optimizer.weight_decay", "optimizer.betas", "schedule", "clip_gradient", "batch_norm"),
)


@dataclass(frozen=True)
class Prepared:
    folder: Path
    lines: list[list[str]]


def prepare(folder: Path) -> Prepared:
    work = folder / "work"
    work.mkdir()
    photos = write_photos(work / "photos")
    for words in (
        pretrain_words(photos, work / "run", "labels=folders"),
        ["evaluate", "run", "device=cpu"],
    ):
        if problem := equissl(words, work).fault(0):
            raise RuntimeError(problem)
    pretrain = pretrain_words(Path("photos"), Path("new"), "stop_after=2")
    lines = [
        pretrain,
        [*pretrain, "recipe=equimod.simclr_cifar10"],
        [*pretrain, "keep=hue", "ignore=crop"],
        ["resume", "run", "epochs=4", "device=cpu", "stop_after=7"],
        ["evaluate", "run", "evaluations=knn", "device=cpu"],
        ["evaluate", "run", "data=photos", "labels=folders", "device=cpu"],
        ["audit", "timm/test_resnet", "run", "data=photos", "count=18", "factors=hue", "out=audit", *FEW],
        ["embed", "run", "data=photos", "out=a.npz", "device=cpu"],
        ["embed", "timm/test_resnet", "data=photos", "out=a.csv", *FEW],
        ["export", "run", "out=exported"],
        ["report", "run", "out=report.html"],
        ["check", "photos", "views=views.html", "count=2"],
        ["render", "solids", "out=solids", "objects=2", "views=2", "size=16"],
        ["list", "backbones", "match=resnet1*"],
        ["study", "grid"],
        ["doctor"],
    ]
    return Prepared(work, lines)


def mutated(words: list[str], draw: random.Random) -> list[str]:
    """A command line with one to three words changed, added, repeated or removed."""
    words = list(words)
    for _ in range(draw.choice((1, 1, 2, 3))):
        at = draw.randrange(len(words))
        kind = draw.randrange(8)
        key = draw.choice(KEYS)
        if kind <= 2 and "=" in words[at]:
            words[at] = f"{words[at].split('=')[0]}={draw.choice(VALUES)}"
        elif kind <= 4:
            words.append(f"{key}={draw.choice(VALUES)}")
        elif kind == 5:
            words.insert(at, draw.choice(VALUES))
        elif kind == 6 and len(words) > 1:
            del words[at]
        elif words[at]:
            cut = draw.randrange(len(words[at]))
            words[at] = (
                words[at][:cut] + draw.choice(("", "x", "=", ".", "-", "\udc80")) + words[at][cut + 1 :]
            )
        if not words:
            words = [draw.choice(VALUES)]
    return [w.replace("\0", "") for w in words]


def attempt(prepared: Prepared, folder: Path, draw: random.Random, number: int) -> str:
    import shutil

    work = folder / "work"
    shutil.copytree(prepared.folder, work)
    words = mutated(draw.choice(prepared.lines), draw)
    done = equissl(words, work, confined(work), TIMEOUT)
    outside = violations(work)
    if outside:
        return f"{words}: {outside}"
    problem = "" if done.timed_out else done.fault(0, 2, 130)
    return f"{words}: {problem}" if problem else ""
