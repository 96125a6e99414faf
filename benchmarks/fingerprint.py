"""Digests of what the package computes, to show that a restructuring changed no number.

    uv run python benchmarks/fingerprint.py [--out FILE.json] [--compare FILE.json] [--only PREFIX[,PREFIX]]

prints one JSON object, case name -> digest: losses, weights and optimiser state after five steps of every
recipe at toy size (``fingerprint_recipes.py``), views and their recorded parameters, datasets
(``fingerprint_views.py``), scores of every evaluation and the numbers of reports (``fingerprint_scores.py``).
Digested are the bytes of numbers in the order they are made, never a name, so that renamed classes, fields
and scores leave them alone. ``--compare`` prints each case that differs, is new or is missing and then exits
with 1. Digests depend on the machine and on the versions of torch and timm: take the baseline before a
change and compare after it, on one machine. About a minute on one core.

Case names are fixed: what is renamed in the package keeps its case here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import fingerprint_recipes as recipes
import fingerprint_scores as scores
import fingerprint_views as views
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from equissl.augment import native
from equissl.data.batch import Batch
from equissl.data.solids import Solids
from equissl.encoder.untrained import untrained_copy
from equissl.errors import Stopped
from equissl.evaluate.base import Score
from equissl.params import Params
from equissl.recipes import quickstart
from equissl.runs.folder import Run
from equissl.runs.load import load_encoder
from equissl.training import checkpoint
from equissl.training.loop import train
from equissl.training.options import Options

Cases = dict[str, Callable[[], Any]]  # name -> what is digested


def digest(value: Any) -> str:
    """Of all numbers in nested data, in order; names and text do not count."""
    hashed = hashlib.blake2b(digest_size=12)
    length = 0
    for part in _bytes(value):
        hashed.update(part)
        length += len(part)
    if not length:
        raise ValueError("there is nothing to digest")
    return hashed.hexdigest()


def _bytes(value: Any) -> Iterable[bytes]:
    match value:
        case None | str():
            return
        case Tensor():
            yield str(tuple(value.shape)).encode()
            yield value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        case bool() | int():
            yield struct.pack("<q", value)
        case float():
            yield struct.pack("<d", value)
        case Score():
            yield from _bytes((value.value, value.low, value.high, value.count))
        case Params():
            for name in value.space.names:
                yield from _bytes((value.values[name], value.applied[name]))
        case Mapping():
            for item in value.values():
                yield from _bytes(item)
        case Batch():
            params = list(value.params.values())
            yield from _bytes((list(value.images.values()), params, value.labels, value.index))
        case _ if isinstance(value, Iterable):
            for item in value:
                yield from _bytes(item)
        case _:
            raise TypeError(f"{value!r} holds no numbers")


def training_cases(folder: Path) -> Cases:
    every = {**recipes.SHIPPED, **recipes.VARIANTS, **(recipes.NATIVE if native.available() else {})}

    def trained(make: recipes.Make) -> Mapping[str, Any]:
        recipe = make()
        return recipes.train(recipes.small(recipe), recipes.dataset_for(recipe, folder))

    cases: Cases = {f"train/{name}": partial(trained, make) for name, make in every.items()}
    return {**cases, "loop": lambda: whole_run(folder)}


def whole_run(folder: Path) -> Mapping[str, Any]:
    """A run through the package's own loop, interrupted and resumed, loaded again, and monitored."""
    recipe = recipes.small(quickstart.equivariant())
    recipe = replace(recipe, data=Solids(size=32, objects=12, views=2, paired=True), monitor_every=1)
    options = Options(accelerator="cpu", loggers=(), silent=True, log_every=1)
    found: dict[str, Any] = {}
    for name, stop_after in (("whole", 0), ("resumed", 4)):
        out = folder / name
        try:
            train(recipe, out, replace(options, stop_after=stop_after))
        except Stopped:
            train(recipe, out, options, resume=True)
        state = checkpoint.load(out / "checkpoints")
        rows = Run(out).log
        found[f"{name}/weights"] = list(state["model"].values())
        found[f"{name}/optimizer"] = [list(s.values()) for s in state["optimizer"]["state"].values()]
        found[f"{name}/losses"] = [[row["loss"], row["lr"]] for row in rows if "loss" in row]
        found[f"{name}/monitor"] = [[row["std"], row["rank_me"]] for row in rows if "std" in row]
    loaded = load_encoder(str(folder / "whole"))
    found["loaded"] = list(loaded.encoder.state_dict().values())
    images = torch.rand(
        16, 3, loaded.config.size, loaded.config.size, generator=torch.Generator().manual_seed(0)
    )
    found["untrained"] = list(untrained_copy(loaded.encoder, images, 1).state_dict().values())
    return found


def all_cases(folder: Path) -> Cases:
    return {
        **training_cases(folder),
        **views.augmentation_cases(),
        **views.data_cases(folder),
        **scores.evaluation_cases(),
        **scores.report_cases(folder),
    }


def fingerprint(only: tuple[str, ...] = ("",)) -> dict[str, str]:
    """Case name -> digest, of the cases whose names start with one of ``only``."""
    found: dict[str, str] = {}
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        for name, make in all_cases(Path(folder)).items():
            if not name.startswith(only):
                continue
            began = time.perf_counter()
            value = make()
            split = name.startswith(("train/", "loop"))
            for key, part in value.items() if split else [("", value)]:
                found[f"{name}/{key}" if key else name] = digest(part)
            print(f"{time.perf_counter() - began:7.2f} s  {name}", file=sys.stderr)
    return found


def differences(before: Mapping[str, str], now: Mapping[str, str], only: tuple[str, ...]) -> list[str]:
    """One line per case that differs, is gone, or is new."""
    lines = []
    for name in (n for n in {**before, **now} if n.startswith(only) and before.get(n) != now.get(n)):
        how = "is new" if name not in before else "differs" if name in now else "is missing"
        lines.append(f"{name} {how}")
    return lines


def main() -> int:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--out", type=Path, help="also write the digests to this file")
    parser.add_argument("--compare", type=Path, help="digests from before; exit with 1 if any differs")
    parser.add_argument("--only", default="", help="prefixes of case names, with commas between them")
    given = parser.parse_args()
    only = tuple(given.only.split(","))
    now = fingerprint(only)
    text = json.dumps(now, indent=1)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")
    if not given.compare:
        print(text)
        return 0
    found = differences(json.loads(given.compare.read_text(encoding="utf-8")), now, only)
    print("\n".join(found) or f"{len(now)} digests are equal")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
