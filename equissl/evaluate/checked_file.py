"""Tensors and plain data in one file, every bit of which is checked when it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from equissl.digest import digest
from equissl.storage import check_regular, parse_json, write_bytes


def write_checked(path: Path, facts: object, tensors: Mapping[str, Tensor]) -> None:
    """Write a file of safetensors, whole or not at all, with a digest of all that is in it.

    Args:
        facts: what JSON can hold.
    """
    text = json.dumps(facts)
    # Copies, because safetensors refuses tensors that share memory.
    content = {name: values.detach().cpu().clone().contiguous() for name, values in tensors.items()}
    write_bytes(path, save(content, {"facts": text, "digest": _digest(text, content)}))


def read_checked(path: Path) -> tuple[Any, dict[str, Tensor]]:
    """The facts and tensors of ``write_checked``.

    Raises:
        UserError: there is no such file.
        ValueError: it is another or a damaged one.
    """
    check_regular(path)  # opening a pipe would never end
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    text = metadata.get("facts", "")
    if metadata.get("digest") != _digest(text, tensors):
        raise ValueError("its content differs from its digest")
    return parse_json(text), tensors


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    return digest(text, dict(sorted(tensors.items())))
