"""The dataset in a user's folder or table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equissl.config import overrides
from equissl.data.base import Data, Split
from equissl.data.files.depth import IntensityRange
from equissl.data.files.pixels import Fit
from equissl.data.files.scan import existing_folder
from equissl.data.files.split import split_folders
from equissl.data.image_folder import ImageFolder
from equissl.data.image_table import ImageTable
from equissl.data.packs.threediebench_layout import Source
from equissl.data.tables.cells import existing_table, is_table
from equissl.data.threediebench import ThreeDIEBench
from equissl.errors import UserError

_PREFIX = "data."


def open_data(
    path: Any,
    size: int,
    labels: str = "none",
    *,
    test_fraction: float = 0.1,
    limit: int | None = None,
    fit: Fit = "crop",
    intensity: IntensityRange = IntensityRange(),
    settings: Mapping[str, str] | None = None,
) -> Data:
    """Images in a folder, of a table, or passed in Python.

    A path that ends in ``.csv``, ``.jsonl`` or ``.parquet`` is an ``ImageTable``, a folder of its layout
    ``ThreeDIEBench``, any other an ``ImageFolder``. 3DIEBench has its own factors, split and labels. Nothing
    is read until ``.open(split)``; the path is made absolute, so that a run can be resumed from any folder.

    Args:
        path: of a folder or a table; or images, a torch ``Dataset`` or a list, as of ``GivenImages``, whose
            samples bring their labels.
        size: side in pixels of the stored square.
        labels: "none", "folders" or the path of a ``.csv`` file with columns ``file`` and ``label``; of a
            table the name of its column, "none" for ``label`` if it has one.
        test_fraction: fraction of the images in the test split, in [0, 1), without split folders.
        limit: maximum number of images of each split (objects of 3DIEBench); ``None`` for all.
        fit: how an image becomes a square: "crop", "squash" or "pad".
        intensity: black and white of images with more than 8 bits, such as those that a model was trained on;
            decided by the folder where absent.
        settings: further fields as text: "group" -> "object", "factors" -> "yaw:circular(360)".

    Raises:
        UserError: a setting that such data do not have, or a value that does not fit.

    Example:
        >>> data = open_data("photos", size=64, labels="folders")
        >>> type(data).__name__, data.size
        ('ImageFolder', 64)
        >>> open_data("photos/angles.csv", size=64, settings={"group": "object"}).group
        'object'
    """
    if not isinstance(path, Path | str):
        return _passed(path, size, labels, settings or {}, test_fraction=test_fraction, limit=limit, fit=fit)
    folder = Path(path)
    data: Data
    if not is_table(path) and Source.recognises(folder):
        data = ThreeDIEBench(path=str(folder.resolve()), size=size, paired=True, limit=limit)
    else:
        data = image_files(
            path, size, labels, test_fraction=test_fraction, limit=limit, fit=fit, intensity=intensity
        )
    if labels != "none" and (column := (settings or {}).get("label")):
        raise UserError(f"labels={labels} and {_PREFIX}label={column} name the class twice; keep one")
    if fixed := [name for name in ("path", "size", "schema") if name in (settings or {})]:
        raise UserError(f"{_PREFIX}{fixed[0]} cannot be set: data= names the images, the model their size")
    try:
        return overrides.override(data, settings or {})
    except UserError as error:
        raise UserError([f"{_PREFIX}{p.removeprefix(_PREFIX)}" for p in error.problems]) from None


def _passed(images: Any, size: int, labels: str, settings: Mapping[str, str], **fields: Any) -> Data:
    from equissl.data.given_data import GivenImages, given_data  # which read folders with this file

    if labels != "none":
        raise UserError(
            f"labels={labels}: samples that are passed in Python bring their labels; leave it out"
        )
    data = given_data(images, size, **fields)
    return overrides.override(data, settings) if isinstance(data, GivenImages) else data


def image_files(
    path: Path | str,
    size: int,
    labels: str = "none",
    *,
    intensity: IntensityRange = IntensityRange(),
    **settings: Any,
) -> ImageFolder | ImageTable:
    """The images of a table, or of a folder whatever its layout; arguments as of ``open_data``.

    Args:
        settings: fields that both have.
    """
    settings |= {"integer_range": intensity.integers, "float_range": intensity.floats}
    where = str(Path(path).expanduser().resolve())
    if is_table(path):
        return ImageTable(where, size, label="" if labels == "none" else labels, **settings)
    is_file = labels.lower().endswith(".csv")  # any other word goes on to an error that names the valid ones
    return ImageFolder(
        where, size, str(Path(labels).expanduser().resolve()) if is_file else labels, **settings
    )


def is_data(path: Path | str) -> bool:
    """Whether there is a folder or a table at a path."""
    path = Path(path).expanduser()
    return path.is_dir() or (is_table(path) and path.is_file())


def existing_data(path: Path | str) -> Path:
    """The folder of images, or the table, at a path of the user.

    Raises:
        UserError: there is none; the message names the nearest that exists.
    """
    return existing_table(str(path)) if is_table(path) else existing_folder(str(path))


def data_settings(settings: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Settings of the data, ``data.NAME=value``, by their name in the data; and the others.

    >>> data_settings({"data.group": "object", "knn.k": "20"})
    ({'group': 'object'}, {'knn.k': '20'})
    """
    own = {k.removeprefix(_PREFIX): v for k, v in settings.items() if k.startswith(_PREFIX)}
    return own, {k: v for k, v in settings.items() if not k.startswith(_PREFIX)}


def split_of_tests(data: Data) -> Split:
    """The split of test images that were named apart: "train", which is all, where there are no splits."""
    if not isinstance(data, ImageFolder | ImageTable):
        return "test" if getattr(data, "test_fraction", 1.0) else "train"
    by_group = isinstance(data, ImageTable) and data.settled().split_by == "group"
    return "test" if not by_group and split_folders(Path(data.root)) else "train"
