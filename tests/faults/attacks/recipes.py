"""Mutated recipe.json, config.json and other stored settings: refused in words, nothing run or fetched."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from forked import equissl
from limits import TIMEOUT, confined, violations
from training import trained_runs

COUNT = 1000
ENDS: Counter[str] = Counter()  # how the commands ended
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 1.5, 1e308, -1e308, float("nan"), float("inf"), 2**64, -(2**70)),
    *(
        "",
        "x",
        ":",
        "..",
        "/",
        "os:system",
        "equissl.cli.main:main",
        "\x1b[31m",
        "\ud800",
        "resnet18",
        "a" * 5000,
    ),
    *(
        [],
        [[]],
        [1],
        [None],
        [0.5, 0.5],
        ["x"],
        [[0, 1]] * 3,
        {},
        {"is": ""},
        {"is": None},
        {"is": 5},
        {"a": 1},
    ),
    *({"is": "os:system"}, {"is": "equissl.cli.main:main"}, {"is": "equissl.training:AdamW"}),
    *({"is": "equissl.data:Solids"}, {"is": "equissl.invariance:SimCLR"}, {"is": "equissl.augment:Crop"}),
    *(
        {"is": "equissl.data:Cifar10", "path": "photos", "verify": False},
        {"is": "equissl.render.blender:worker"},
    ),
    {"is": "equissl.encoder:EncoderConfig", "name": "equissl.cli.main:main"},
    {"is": "equissl.encoder:EncoderConfig", "options": {"pretrained": True}},
    {"is": "equissl.encoder:EncoderConfig", "options": {"checkpoint_path": "/etc/passwd"}},
)
FILES = (
    "recipe.json",
    "recipe.json",
    "recipe.json",
    "export/config.json",
    "environment.json",
    "components.json",
)


def prepare(folder: Path) -> Path:
    return trained_runs(folder)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below a JSON value."""
    found: list[tuple[Any, Any]] = []
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, inner in entries:
        found += [(value, key), *places(inner)]
    return found


def mutated(text: str, draw: random.Random) -> str:
    """JSON with one or two values replaced, removed or added, or broken."""
    if draw.random() < 0.1:
        at = draw.randrange(len(text))
        return text[:at] + draw.choice(("", "{", "\0", "\udc80", "]", "}")) + text[at + draw.randrange(20) :]
    value = json.loads(text)
    for _ in range(draw.choice((1, 1, 2))):
        every = places(value)
        if not every:
            return json.dumps(draw.choice(VALUES))
        container, key = draw.choice(every)
        kind = draw.randrange(5)
        if kind == 0:
            del container[key]
        elif kind == 1 and isinstance(container, dict):
            container[draw.choice(("x", "is", "", "path", "__class__"))] = draw.choice(VALUES)
        elif kind == 2 and isinstance(container[key], dict):
            other, there = draw.choice(every)
            container[key] = json.loads(json.dumps(other.get(there) if isinstance(other, dict) else None))
        else:
            container[key] = draw.choice(VALUES)
    return json.dumps(value)


def attempt(prepared: Path, folder: Path, draw: random.Random, number: int) -> str:
    work = folder / "work"
    shutil.copytree(prepared, work)
    run = draw.choice(("run", "stopped"))
    file = work / run / draw.choice(FILES)
    if not file.exists():
        file = work / run / "recipe.json"
    text = mutated(file.read_text(encoding="utf-8"), draw)
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    model = f"{run}/export" if "export" in str(file) else run
    words = draw.choice(
        (
            ["resume", run, "device=cpu", "stop_after=5"],
            ["resume", run, "epochs=4", "device=cpu", "stop_after=7"],
            ["evaluate", run, "evaluations=knn", "device=cpu"],
            ["embed", model, "data=photos", "out=a.npz", "device=cpu"],
            ["export", run, "out=exported"],
            ["report", run, "out=report.html"],
        )
    )
    if "export" in str(file):
        words = ["embed", model, "data=photos", "out=a.npz", "device=cpu"]
    done = equissl(words, work, confined(work), TIMEOUT)
    ENDS["stopped" if done.timed_out else f"exit {done.code}"] += 1
    problem = violations(work) or ("" if done.timed_out else done.fault(0, 2, 130))
    return (
        f"{words[0]} after {_difference(prepared / file.relative_to(work), text)}: {problem}"
        if problem
        else ""
    )


def _difference(original: Path, text: str) -> str:
    """Where the mutated text begins to differ."""
    before = original.read_text(encoding="utf-8")
    with contextlib.suppress(ValueError):
        before = json.dumps(json.loads(before))
    at = next((k for k, (a, b) in enumerate(zip(before, text, strict=False)) if a != b), 0)
    return repr(f"{original.name} ...{text[max(0, at - 60) : at + 80]}")
