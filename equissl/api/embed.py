"""Features of every image in a folder."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from equissl.data.base import BadImage
from equissl.data.image_folder import ImageFolder
from equissl.errors import UserError
from equissl.evaluate.features import extract
from equissl.progress import Progress, no_progress
from equissl.runs.load import Loaded, LoadedEncoder, LoadedRun, load_encoder
from equissl.storage import atomic_open


@dataclass(frozen=True)
class Embeddings:
    """Features of the images in a folder.

    Args:
        files: N paths relative to the folder.
        features: (N, D), row by row those of ``files``.
        skipped: files that cannot be read, with the reason.
    """

    files: tuple[str, ...]
    features: Tensor
    skipped: tuple[BadImage, ...]


def embed(
    model: Loaded | Path | str,
    data: Path | str,
    out: Path | str | None = None,
    *,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> Embeddings:
    """Features of every image in a folder that can be read.

    Args:
        model: a run folder, an exported folder, ``timm/NAME``, or what ``load_encoder`` returned.
        out: also write them, to a ``.npz`` file (``files``, ``features``, ``skipped``) or a ``.csv`` file.

    Raises:
        UserError: ``out`` has another ending, there is no image, or features are not finite.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from equissl.data.image_folder import write_images
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_images(folder, {"cats": 2, "dogs": 1})
        >>> table = embed("timm/test_resnet", folder)  # random weights; or a run folder
        >>> table.features.shape[0], sorted(table.files)[0]
        (3, 'cats/0.png')
    """
    path = None if out is None else Path(out)
    check_suffix(path)
    loaded = model if isinstance(model, LoadedEncoder | LoadedRun) else load_encoder(str(model))
    folder = ImageFolder(path=str(data), size=loaded.config.size, test_fraction=0.0, max_bad_fraction=1.0)
    dataset = folder.open("train", progress)
    loaded.encoder.to(device)
    table = extract(
        loaded.encoder,
        dataset,
        device=device,
        progress=progress,
        model=loaded.name,
        drop_unreadable=True,
    )
    rows = range(len(dataset)) if table.rows is None else table.rows.tolist()
    files = dataset.files
    embeddings = Embeddings(tuple(files[row] for row in rows), table.vectors, dataset.bad_images)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        (_write_csv if path.suffix == ".csv" else _write_npz)(path, embeddings)
    return embeddings


def check_suffix(out: Path | None) -> None:
    """Raises UserError unless ``out`` ends in a known way."""
    if out is not None and out.suffix not in (".npz", ".csv"):
        raise UserError(f"out={out}: expected a file that ends in .npz or .csv")


def _write_npz(out: Path, embeddings: Embeddings) -> None:
    files = np.array(embeddings.files, dtype=str)
    skipped = np.array([[b.path, b.reason] for b in embeddings.skipped], dtype=str).reshape(-1, 2)
    with atomic_open(out, "wb") as file:
        np.savez(file, files=files, features=embeddings.features.numpy(), skipped=skipped)


def _write_csv(out: Path, embeddings: Embeddings) -> None:
    with atomic_open(out, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "status", *(f"feature_{k}" for k in range(embeddings.features.shape[1]))])
        for name, row in zip(embeddings.files, embeddings.features.tolist(), strict=True):
            writer.writerow([name, "ok", *row])
        writer.writerows([b.path, b.reason] for b in embeddings.skipped)
