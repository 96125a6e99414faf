"""Mutated command lines: each works or ends in words, within its folder and without the network."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from forked import equissl
from limits import TIMEOUT, confined, violations
from training import pretrain_words, write_photos

from equissl.cli.grammar.verbs import VERBS

COUNT = 2000
ENDS: Counter[str] = Counter()  # how the commands ended
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
PLAUSIBLE = (
    *(
        "0",
        "1",
        "2",
        "3",
        "-1",
        "0.5",
        "-0.5",
        "1e-9",
        "1e30",
        "nan",
        "inf",
        "4294967296",
        "9223372036854775808",
    ),
    *(
        "[]",
        "[0]",
        "[-3]",
        "[1]",
        "[1,2]",
        "[8,0,8]",
        "[0.5,0.5]",
        "[0.5,0.5,0.5]",
        "[nan]",
        "[x]",
        "[[1,2],[3]]",
    ),
    *(
        "equissl.training:AdamW",
        "equissl.training:LARS",
        "equissl.invariance:BYOL",
        "equissl.invariance:VICReg",
    ),
    *(
        "equissl.equivariance:SIE",
        "equissl.augment:ColorJitter",
        "equissl.augment:PatchMask",
        "equissl.data:Solids",
    ),
    *(
        "x",
        "",
        "null",
        "true",
        "false",
        "{}",
        '{"a":1}',
        "all",
        "image",
        "hue",
        "part",
        "none",
        "auto",
        "sync",
    ),
)


@dataclass(frozen=True)
class Prepared:
    folder: Path
    lines: list[list[str]]
    paths: list[str]  # of the recipe's settings


def prepare(folder: Path) -> Prepared:
    work = folder / "work"
    work.mkdir()
    photos = write_photos(work / "photos", 48)
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
        ["audit", "timm/test_resnet", "run", "data=photos", "count=40", "factors=hue", "out=audit", *FEW],
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
    paths = ["seed", *settings(json.loads((work / "run" / "recipe.json").read_text(encoding="utf-8")))]
    return Prepared(work, lines, paths)


def settings(value: object, path: str = "") -> list[str]:
    """The path of every setting in a stored recipe, with those of a few elements of lists."""
    if isinstance(value, dict):
        below = [f"{path}.{k}".lstrip(".") for k in value if k != "is"]
        return [*below, *(p for k, v in value.items() for p in settings(v, f"{path}.{k}".lstrip(".")))]
    if isinstance(value, list):
        return [f"{path}.{k}" for k in range(min(2, len(value)))]
    return []


def adjusted(words: list[str], paths: list[str], draw: random.Random) -> list[str]:
    """A command line with one or two of its own settings at unusual values."""
    verb = next(v for v in VERBS if v.name == " ".join(words[: len(v.name.split())]))
    own = [k.name for k in verb.keys if k.name not in ("data", "out", "device")]
    takes_recipe = verb.name in ("pretrain", "check", "resume", "evaluate")
    for _ in range(draw.choice((1, 1, 2))):
        key = (
            draw.choice(paths)
            if takes_recipe and (not own or draw.random() < 0.8)
            else draw.choice(own or ["x"])
        )
        words = [w for w in words if w.partition("=")[0] != key]
        words.append(f"{key}={draw.choice(PLAUSIBLE)}")
    return words


def mutated(words: list[str], draw: random.Random) -> list[str]:
    """A command line with one to three words changed, repeated or removed."""
    words = list(words)
    for _ in range(draw.choice((1, 1, 2, 3))):
        at = draw.randrange(len(words))
        kind = draw.randrange(8)
        if kind <= 2 and "=" in words[at]:
            words[at] = f"{words[at].split('=')[0]}={draw.choice(VALUES)}"
        elif kind <= 5:
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
    work = folder / "work"
    shutil.copytree(prepared.folder, work)
    line = draw.choice(prepared.lines[:3] if draw.random() < 0.4 else prepared.lines)
    words = mutated(line, draw) if draw.random() < 0.3 else adjusted(line, prepared.paths, draw)
    done = equissl(words, work, confined(work), TIMEOUT)
    outside = violations(work, words)
    if outside:
        return f"{words}: {outside}"
    ENDS["stopped" if done.timed_out else f"exit {done.code}"] += 1
    problem = "" if done.timed_out else done.fault(0, 2, 130)
    return f"{words}: {problem}" if problem else ""
