"""The index of a shard of a pack: which bytes are which image."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equissl.errors import UserError

_COLUMNS = {  # of a shard's index: kind and number of dimensions
    "owners": ("U", 1),
    "owner": ("i", 1),
    "view": ("i", 1),
    "latents": ("f", 2),
    "ends": ("i", 1),
    "bad": ("U", 2),
}


def read_index(folder: Path, number: int) -> dict[str, NDArray[Any]]:
    """The arrays of a shard's ``.npz`` file, which may have been damaged or made by anyone.

    Raises:
        UserError: it is missing, damaged, or not of its ``.bin`` file.
    """
    path, images = folder / f"{number:05d}.npz", folder / f"{number:05d}.bin"
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(i.file_size for i in archive.infolist()) > path.stat().st_size:
                raise ValueError(f"{path.name} is compressed, or announces more than it holds")
        with np.load(path, allow_pickle=False) as file:
            shard = {name: file[name] for name in _COLUMNS}
        size = images.stat().st_size
        _check_index(shard, size, images.name)
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"shard {number} of {str(folder)!r} is missing or damaged ({error}); delete pack.json, "
            f"{path.name} and {images.name} there to pack it again"
        ) from error
    return shard


def _check_index(shard: dict[str, NDArray[Any]], size: int, name: str) -> None:
    count = len(shard["owner"]) if shard["owner"].ndim else -1
    shapes = {"owner": (count,), "view": (count,), "ends": (count + 1,)}
    fits = all(
        values.dtype.kind == kind and values.ndim == ndim
        for (_, (kind, ndim)), values in zip(_COLUMNS.items(), shard.values(), strict=True)
    )
    if (
        not fits
        or any(shard[n].shape != shape for n, shape in shapes.items())
        or len(shard["latents"]) != count
    ):
        raise ValueError("its index has another layout")
    if shard["bad"].shape[1] != 2 or not np.isfinite(shard["latents"]).all():
        raise ValueError("its index has another layout")
    if shard["ends"][-1] != size:
        raise ValueError(f"{name} has {size} bytes instead of {shard['ends'][-1]}")
    owner, ends = shard["owner"], shard["ends"]
    if ends[0] != 0 or (np.diff(ends) < 0).any():
        raise ValueError("its index has positions outside of the shard")
    if count and not (owner.min() >= 0 and owner.max() < len(shard["owners"]) and shard["view"].min() >= 0):
        raise ValueError("its index names objects that are not there")
