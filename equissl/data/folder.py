"""The dataset in a user's folder."""

from __future__ import annotations

from pathlib import Path

from equissl.data.base import Data
from equissl.data.files.depth import IntensityRange
from equissl.data.files.pixels import Fit
from equissl.data.image_folder import ImageFolder
from equissl.data.packs.threediebench_layout import Source
from equissl.data.threediebench import ThreeDIEBench


def open_data(
    path: Path | str,
    size: int,
    labels: str = "none",
    *,
    test_fraction: float = 0.1,
    limit: int | None = None,
    fit: Fit = "crop",
    intensity: IntensityRange = IntensityRange(),
) -> Data:
    """Images in a folder: ``ThreeDIEBench`` if it has that layout, any other an ``ImageFolder``.

    3DIEBench has its own factors, split and labels. Nothing is read until ``.open(split)``; the path is made
    absolute, so that a run can be resumed from any folder.

    Args:
        size: side in pixels of the stored square.
        labels: "none", "folders" or the path of a ``.csv`` file with columns ``file`` and ``label``.
        test_fraction: fraction of the images in the test split, in [0, 1), without split folders.
        limit: maximum number of images of each split (objects of 3DIEBench); ``None`` for all.
        fit: how an image becomes a square: "crop", "squash" or "pad".
        intensity: black and white of images with more than 8 bits, such as those that a model was trained on;
            decided by the folder where absent.

    Example:
        >>> data = open_data("photos", size=64, labels="folders")
        >>> type(data).__name__, data.size
        ('ImageFolder', 64)
    """
    folder = Path(path)
    if Source.recognises(folder):
        return ThreeDIEBench(path=str(folder.resolve()), size=size, paired=True, limit=limit)
    is_table = labels.lower().endswith(".csv")  # any other word goes on to an error that names the valid ones
    table = str(Path(labels).expanduser().resolve()) if is_table else labels
    return ImageFolder(
        str(folder.resolve()),
        size,
        table,
        test_fraction=test_fraction,
        limit=limit,
        fit=fit,
        integer_range=intensity.integers,
        float_range=intensity.floats,
    )
