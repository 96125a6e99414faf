"""Attacks on equissl: kills, full disks, hostile files, mutated command lines; prints what failed.

uv run python tests/faults/run.py [ATTACK ...] [fraction=1.0] [seed=0] [keep=FOLDER]

Without names every attack runs. ``fraction`` scales the counts; another ``seed`` tries other inputs.
Exit code 1 if anything failed.
"""

from __future__ import annotations

import importlib
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import forked

ATTACKS = Path(__file__).with_name("attacks")


def main(words: list[str]) -> int:
    options = dict(w.split("=", 1) for w in words if "=" in w)
    fraction, seed = float(options.get("fraction", 1)), int(options.get("seed", 0))
    known = sorted(p.stem for p in ATTACKS.glob("*.py"))
    names = [w for w in words if "=" not in w] or known
    if unknown := sorted(set(names) - set(known)):
        print(f"no attack {', '.join(unknown)}; valid: {', '.join(known)}", file=sys.stderr)
        return 2
    forked.preload()
    failed = 0
    print(f"{'attack':16} {'tried':>6} {'failed':>6} {'seconds':>8}   (seed {seed})", flush=True)
    with tempfile.TemporaryDirectory(prefix="equissl-faults-", dir=options.get("keep")) as scratch:
        for name in names:
            failed += run(name, fraction, seed, Path(scratch) / name)
    return 1 if failed else 0


def run(name: str, fraction: float, seed: int, folder: Path) -> int:
    """Run one attack; returns the number of failures."""
    attack = importlib.import_module(f"attacks.{name}")
    folder.mkdir()
    began = time.monotonic()
    count = max(1, round(attack.COUNT * fraction))
    prepared = attack.prepare(folder)
    problems = []
    for k in range(count):
        place = folder / str(k)
        place.mkdir()
        draw = random.Random(f"{name} {seed} {k}")
        try:
            problem = attack.attempt(prepared, place, draw, k)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        if problem:
            problems.append(f"{name} {k}: {problem}")
            print(f"  {problems[-1]}", flush=True)
    ends = "".join(f"   {end}: {n}" for end, n in sorted(getattr(attack, "ENDS", {}).items()))
    tried = count * getattr(attack, "EACH", 1)
    print(f"{name:16} {tried:6} {len(problems):6} {time.monotonic() - began:8.0f}{ends}", flush=True)
    return len(problems)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main(sys.argv[1:]))
