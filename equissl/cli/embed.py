"""``equissl embed``."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from equissl.cli import shared
from equissl.cli.arguments import Given
from equissl.data.base import BadImage
from equissl.data.files.scan import existing_folder
from equissl.data.image_folder import ImageFolder
from equissl.errors import UserError
from equissl.evaluate.features import extract
from equissl.progress import Display
from equissl.runs import load as models
from equissl.storage import atomic_open


def run(given: Given) -> None:
    """Features of every image that can be read; a file that cannot is listed with the reason."""
    out: Path = given["out"]
    given.check(
        lambda: _check_suffix(out),
        lambda: existing_folder(str(given["data"])),
        lambda: shared.device(given),
    )
    loaded = models.load(
        given.things[0], weights=given["weights"], size=given["size"], trusted=shared.trusted(given)
    )
    data = ImageFolder(path=str(given["data"]), size=loaded.config.size, test_share=0.0, bad_limit=1.0)
    with Display() as display:
        dataset = data.open("train", display)
        loaded.encoder.to(shared.device(given))
        table = extract(loaded.encoder, dataset, device=shared.device(given), progress=display)
    bad = dataset.bad_images
    late = {b.path for b in bad}  # found bad only when decoded: another image stood in for it
    kept = [k for k, file in enumerate(dataset.files) if file not in late]
    files = [dataset.files[k] for k in kept]
    out.parent.mkdir(parents=True, exist_ok=True)
    write = _write_csv if out.suffix == ".csv" else _write_npz
    write(out, files, table.vectors[kept], bad)
    print(f"wrote {out}: {len(files)} images x {table.vectors.shape[1]} features")
    for skipped in bad:
        print(f"skipped {skipped.path}: {skipped.reason}")


def _check_suffix(out: Path | None) -> None:
    if out is not None and out.suffix not in (".npz", ".csv"):
        raise UserError(f"out={out}: expected a file that ends in .npz or .csv")


def _write_npz(out: Path, files: Sequence[str], vectors: Tensor, bad: Sequence[BadImage]) -> None:
    skipped = np.array([[b.path, b.reason] for b in bad], dtype=str).reshape(-1, 2)
    with atomic_open(out, "wb") as file:
        np.savez(file, files=np.array(files, dtype=str), features=vectors.numpy(), skipped=skipped)


def _write_csv(out: Path, files: Sequence[str], vectors: Tensor, bad: Sequence[BadImage]) -> None:
    with atomic_open(out, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "status", *(f"feature_{k}" for k in range(vectors.shape[1]))])
        for name, row in zip(files, vectors.tolist(), strict=True):
            writer.writerow([name, "ok", *row])
        for b in bad:
            writer.writerow([b.path, b.reason])
