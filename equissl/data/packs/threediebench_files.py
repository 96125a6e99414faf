"""Image and latents of one sample of 3DIEBench, from two files or their bytes."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equissl.data.packs.archive import MAX_FILE_BYTES

_MAX_LATENT_BYTES = 1 << 14


def read_files(folder: Path, view: int) -> tuple[bytes, NDArray[np.float64]]:
    """Image and latents of an object in its folder, checked.

    Raises:
        OSError, ValueError: they cannot be used; the message says why.
    """
    data = _content(folder / f"image_{view}.jpg")
    try:
        latent = _content(folder / f"latent_{view}.npy")
    except FileNotFoundError as error:
        raise ValueError(f"latent_{view}.npy is missing") from error
    return data, _latent(latent)


def _content(path: Path) -> bytes:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path.name} is not a regular file")
    if status.st_size > MAX_FILE_BYTES:
        raise ValueError(
            f"{path.name} has {status.st_size:,} bytes, more than the limit of {MAX_FILE_BYTES:,}"
        )
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES)


def read_pair(image: bytes, latent: bytes) -> tuple[bytes, NDArray[np.float64]]:
    """As ``read_files``, from the contents of the two files."""
    return image, _latent(latent)


def refuse(problem: str) -> tuple[bytes, NDArray[np.float64]]:
    """Raises ValueError: an image that cannot be used for a reason known before."""
    raise ValueError(problem)


def _latent(data: bytes) -> NDArray[np.float64]:
    if len(data) > _MAX_LATENT_BYTES:  # numpy makes room for as many numbers as a header announces
        raise ValueError(f"the latents have {len(data):,} bytes, more than {_MAX_LATENT_BYTES:,}")
    try:
        values = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError, OverflowError, SyntaxError) as error:
        raise ValueError(f"the latents cannot be read ({error})") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu" or values.ndim != 1:
        raise ValueError("the latents are not a vector of numbers")
    if len(values) not in (7, 10) or not np.isfinite(values).all():
        raise ValueError(f"the latents are not 7 or 10 finite numbers, got {values.tolist()[:12]}")
    return values.astype(np.float64)
