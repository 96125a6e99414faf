"""Tensors in files of weights: safetensors and torch, never any other Python object."""

from __future__ import annotations

import argparse
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equissl.digest import check_dense
from equissl.errors import UserError

RUN_PREFIX = "model.encoder.backbone."  # of the encoder's own weights in a checkpoint of a run
_WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.")
_IN_FOLDER = ("checkpoints/last.pt", "checkpoints/previous.pt", "model.safetensors", "pytorch_model.bin")
_MAX_DEPTH = 8
_SCALAR = np.float64(0).__reduce__()[0]
# Plain values that torch refuses by default, but which checkpoints often hold beside the weights.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "bool")),
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Dotted name -> tensor, of a file or of the folder of a run, an export or a Hugging Face snapshot.

    Nested dictionaries become one: ``{"state_dict": {"fc.bias": ...}}`` has the name "state_dict.fc.bias".
    What ``torch.compile`` and wrappers of FSDP put into names is left out. Of a run, the encoder's only.

    Raises:
        UserError: no such file, or one that holds no named tensors, or other Python objects.
    """
    file = weight_file(path)
    content = _read_safetensors(file) if _is_safetensors(file) else _read_torch(file)
    found = flatten(content)
    try:
        check_dense(found)
    except ValueError as error:
        raise UserError(f"weights: {str(file)!r} is damaged: {error}") from error
    if file.parent.name == "checkpoints" and (file.parents[1] / "recipe.json").is_file():
        found = {k: v for k, v in found.items() if k.startswith(RUN_PREFIX)}
    if not found:
        keys = ", ".join(map(repr, list(content)[:8])) if isinstance(content, Mapping) else ""
        inside = f"a dictionary with the keys {keys}" if keys else f"a {type(content).__name__}"
        raise UserError(f"weights: {str(file)!r} holds no named tensors, but {inside}")
    return found


def weight_file(path: Path) -> Path:
    """The file of weights at ``path``: itself, or the one in a folder.

    Raises:
        UserError: there is none.
    """
    if path.is_dir():
        inside = next((path / n for n in _IN_FOLDER if (path / n).is_file()), None)
        if inside is None:
            raise UserError(f"weights: the folder {str(path)!r} has none of {', '.join(_IN_FOLDER)}")
        return inside
    if not path.is_file():
        raise UserError(f"weights: no file {str(path)!r}")
    return path


def flatten(content: Any) -> dict[str, Tensor]:
    """The dense tensors in nested mappings by their dotted names, those of wrappers left out."""
    found: dict[str, Tensor] = {}

    def walk(value: Any, name: str, depth: int) -> None:
        if isinstance(value, Tensor) and name and value.layout == torch.strided:
            for wrapper in _WRAPPERS:
                name = name.replace(wrapper, "")
            found[name] = value
        elif isinstance(value, Mapping) and depth < _MAX_DEPTH:
            for key, inner in value.items():
                walk(inner, f"{name}.{key}" if name else str(key), depth + 1)

    walk(content, "", 0)
    return found


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(9)
    return path.suffix == ".safetensors" or (
        len(start) == 9 and start[8:] == b"{" and start[5:8] == b"\0\0\0"
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"weights: {str(path)!r} is no readable safetensors file: {error}") from error


def _read_torch(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice on other pickle protocols
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if kind := _other_kind(path):
            raise UserError(f"weights: {str(path)!r} is {kind}") from error
        raise UserError(
            f"weights: {str(path)!r} holds {_objects(path)}, which are never unpickled because that can run "
            "code. Where you trust the file, save its tensors alone: torch.save(model.state_dict(), FILE)"
        ) from error
    except Exception as error:  # torch reads damaged files in many ways, each with its own error
        kind = _other_kind(path) or "a damaged file of torch"
        raise UserError(f"weights: {str(path)!r} cannot be read; it is {kind}") from error


def _other_kind(path: Path) -> str:
    """What a file is that torch never wrote, in words; "" for a pickle or a zip file of torch."""
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if start.startswith(b"version https://git-lfs"):
        return "only a pointer of Git LFS: fetch the file itself with `git lfs pull`, or download it again"
    if start.startswith(b"<"):
        return "a web page, not weights: download the file again"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            torchs = any(name.endswith("data.pkl") for name in archive.namelist())
        return "" if torchs else "a zip file, but not of torch"
    return "" if start.startswith((b"\x80", b"PK")) else "neither torch's nor safetensors'"


def _objects(path: Path) -> str:
    """The Python objects besides tensors that a file of torch names."""
    try:
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # only zip files of torch can be asked
        names = []
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"Python objects besides tensors ({shown})" if shown else "Python objects besides tensors"
