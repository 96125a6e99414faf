"""Features of every image in a folder, of a table, or passed in Python."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from equissl.api.given import load_with_images
from equissl.data.base import BadImage
from equissl.data.folder import image_files
from equissl.data.given_images import Images
from equissl.data.image_folder import ImageFolder
from equissl.data.image_table import ImageTable
from equissl.data.tables.schema import TableSchema
from equissl.distributed import limit_threads, resolve_device
from equissl.errors import UserError
from equissl.evaluate.features import extract
from equissl.progress import ShowProgress, shown
from equissl.runs.given import Given, load_given
from equissl.runs.load import Loaded, inputs_and_weights
from equissl.storage import atomic_open, write_json
from equissl.tables import data_frame, write_csv


@dataclass(frozen=True, repr=False)
class Embeddings:
    """Features of images.

    Args:
        files: N paths relative to the folder, or to that of the table, as Python names files (``os.fsencode``
            gives their bytes); numbers of images that are no files.
        features: (N, D), row by row those of ``files``.
        skipped: files that cannot be read, with the reason.
        model: its name, where its weights come from, and the normalisation and size of the images.
    """

    files: tuple[str, ...]
    features: Tensor
    skipped: tuple[BadImage, ...]
    model: Mapping[str, Any] = field(default_factory=dict)

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame``: "feature_0", ..., a row per file.

        Raises:
            UserError: pandas is not installed.
        """
        columns = {f"feature_{k}": column for k, column in enumerate(self.features.numpy().T)}
        return data_frame(columns).set_index(np.array(self.files))

    def __repr__(self) -> str:
        count, width = self.features.shape
        skipped = f", {len(self.skipped)} images skipped" if self.skipped else ""
        return f"Embeddings of {count:,} images, {width} features each, by {self.model.get('name')}{skipped}"


def embed(
    model: Given,
    data: Images,
    out: Path | str | None = None,
    *,
    size: int = 0,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    preprocess: object = None,
    trusted: Sequence[str] = (),
    seed: int = 0,
    device: str = "cpu",
    progress: ShowProgress = False,
) -> Embeddings:
    """Features of every image that can be read, of a folder (split folders or not), a table or a ``Dataset``.

    Images become squares as those that the model was trained on, if that is known, and those with more than
    8 bits are read with the same intensity range.

    Args:
        model: a name as of ``load_encoder``, such as a run folder or ``timm/NAME@pretrained``; what it
            returned; or a module or a function of images.
        data: a folder, a table, a torch ``Dataset``, or other images as of ``audit``.
        out: also write them, to a ``.npz`` file (``files``, ``features``, ``skipped``, and ``model``, JSON
            with the weights and the normalisation) or a ``.csv`` file, with that JSON beside it.
        size, mean, std, preprocess, trusted: as of ``audit``.
        seed: of random weights.
        progress: True for a live bar, or a function (what, done, total).

    Raises:
        UserError: ``out`` has another ending, there is no image, or features are not finite.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from equissl.data.image_folder import write_images
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_images(folder, {"cats": 2, "dogs": 1})
        >>> lines = []
        >>> from equissl.runs.load import load_encoder
        >>> loaded = load_encoder("timm/test_resnet", say=lines.append)  # or the name of a run folder
        >>> lines[-1][:46]
        'warning: timm/test_resnet has RANDOM weights ('
        >>> table = embed(loaded, folder)
        >>> table.features.shape[0], sorted(table.files)[0]
        (3, 'cats/0.png')
    """
    path = None if out is None else Path(out)
    check_suffix(path)
    limit_threads()
    given: Any = {"mean": mean, "std": std, "preprocess": preprocess, "seed": seed, "trusted": trusted}
    device = resolve_device(device)
    with shown(progress) as show:
        if isinstance(data, Path | str):
            loaded = load_given(model, size=size, **given)
            dataset = _every_image(data, loaded).open_all(show)
        else:
            loaded, dataset = load_with_images(model, data, size, show, **given)
        loaded.encoder.to(device)
        table = extract(
            loaded.encoder, dataset, device=device, progress=show, model=loaded.name, drop_unreadable=True
        )
    facts = {"name": loaded.name, **inputs_and_weights(loaded)}
    rows = range(len(dataset)) if table.rows is None else table.rows.tolist()
    files = dataset.files or tuple(map(str, range(len(dataset))))
    embeddings = Embeddings(tuple(files[row] for row in rows), table.vectors, dataset.bad_images, facts)
    if path is not None:
        (_write_csv if path.suffix == ".csv" else _write_npz)(path, embeddings)
    return embeddings


def _every_image(path: Path | str, loaded: Loaded) -> ImageFolder | ImageTable:
    """The images of a folder or a table, none of which is refused."""
    images = image_files(
        path, loaded.config.size, fit=loaded.fit, max_bad_fraction=1.0, intensity=loaded.intensity
    )
    # Factors and pairs of a table are not asked for.
    return replace(images, schema=TableSchema()) if isinstance(images, ImageTable) else images


def check_suffix(out: Path | None) -> None:
    """Raises UserError unless ``out`` ends in a known way."""
    if out is not None and out.suffix not in (".npz", ".csv"):
        raise UserError(f"out={out}: expected a file that ends in .npz or .csv")


def _write_npz(out: Path, embeddings: Embeddings) -> None:
    files = np.array(embeddings.files, dtype=str)
    skipped = np.array([[b.path, b.reason] for b in embeddings.skipped], dtype=str).reshape(-1, 2)
    with atomic_open(out, "wb") as file:
        model = np.array(json.dumps(dict(embeddings.model)))
        np.savez(file, files=files, features=embeddings.features.numpy(), skipped=skipped, model=model)


def _write_csv(out: Path, embeddings: Embeddings) -> None:
    write_json(out.with_name(f"{out.name}.json"), dict(embeddings.model))
    header = ["file", "status", *(f"feature_{k}" for k in range(embeddings.features.shape[1]))]
    rows = zip(embeddings.files, embeddings.features, strict=True)
    good = ([name, "ok", *row.tolist()] for name, row in rows)
    write_csv(out, itertools.chain([header], good, ([b.path, b.reason] for b in embeddings.skipped)))
