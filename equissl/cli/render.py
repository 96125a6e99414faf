"""``equissl render``."""

from __future__ import annotations

import csv
import time
from pathlib import Path

from PIL import Image

from equissl.cli import shared
from equissl.cli.arguments import Given
from equissl.data.base import Resident, Split
from equissl.data.solids import Solids
from equissl.errors import UserError
from equissl.photonics.dos import Spectrum
from equissl.photonics.generate import Plan, generate
from equissl.progress import Display
from equissl.runs.folder import check_free
from equissl.storage import atomic_open


def solids(given: Given) -> None:
    """PNG files below train/CLASS and test/CLASS, and a table of every image's factors."""
    out = given["out"]
    given.check(lambda: None if out is None else check_free(out))
    data = _solids(given)
    with Display() as display:
        for split in ("train", "test"):
            write(data.open(split, display), out, split)
    print(f"wrote {out}: images below train/ and test/, factors in train.csv and test.csv")


def photonics(given: Given) -> None:
    """One file of cells, labels, parameters and seed."""
    plans: list[Plan] = []
    given.check(lambda: plans.append(_plan(given)), lambda: shared.device(given))
    (plan,), out, began = plans, given["out"], time.monotonic()
    with Display() as display:
        made = generate(plan, out, device=shared.device(given), progress=display)
    took = time.monotonic() - began
    print(f"{out}: {plan.count} cells of kind {plan.kind}, the last {plan.labels} with a density of states")
    if made:
        print(f"made {made} cells in {took:.1f} s ({made / took:.1f} cells per second)")


def _plan(given: Given) -> Plan:
    if None in (given["kind"], given["count"]):
        raise UserError([])  # already reported
    try:
        spectrum = Spectrum(**{n: given[n] for n in ("polarisation", "order", "grid")})
    except ValueError as error:
        raise UserError(str(error)) from error
    return Plan(
        spectrum=spectrum, **{n: given[n] for n in ("kind", "count", "labelled", "size", "harmonics", "seed")}
    )


def _solids(given: Given) -> Solids:
    try:
        return Solids(size=given["size"], objects=given["objects"], views=given["views"], seed=given["seed"])
    except ValueError as error:
        raise UserError(str(error)) from error


def write(solids: Resident, out: Path, split: Split) -> None:
    """Images and factors of one split."""
    out.mkdir(parents=True, exist_ok=True)
    columns = [
        (f.name if f.size == 1 else f"{f.name}_{k}", f.name, k)
        for f in solids.params.space
        for k in range(f.size)
    ]
    with atomic_open(out / f"{split}.csv", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "object", *(name for name, _, _ in columns)])
        for row, image in enumerate(solids.images):
            label = solids.classes[int(solids.target[row])]
            name = f"{split}/{label}/{row:06d}.png"
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(out / name)
            values = (float(solids.params.values[factor][row, k]) for _, factor, k in columns)
            writer.writerow([name, label, int(solids.groups[row]), *values])
