"""A cache of features on disk, keyed by a digest of everything they depend on."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from equissl.config.public import installed_version
from equissl.errors import UserError
from equissl.evaluate.base import FeatureTable
from equissl.evaluate.checked_file import read_checked, write_checked
from equissl.params import Params, Space

SUFFIX = ".safetensors"
_CODE = ("augment", "encoder", "params", "evaluate/audit", "evaluate/probes")  # what is kept depends on


@dataclass(frozen=True)
class FeatureCache:
    """Tables of features in a folder, one file each; the least recently used are removed first.

    Files are written atomically, and one that cannot be read is made anew. Nothing in them is executed.

    Args:
        folder: created with the first table; None caches nothing.
        limit_gb: maximum size of all files, in 10^9 bytes.
    """

    folder: Path | None = None
    limit_gb: float = 2.0

    def table(self, key: str, space: Space, make: Callable[[], FeatureTable]) -> FeatureTable:
        """The table of ``key``: read if it is there, otherwise made and written.

        Args:
            key: a digest of all that the table depends on.
            space: the factors of its ``params``.
        """
        if self.folder is None:
            return make()
        path = self.folder / f"{key}{SUFFIX}"
        table = _read(path, space)
        if table is None:
            table = make()
            _write(path, table)
            self._make_room(path)
        return table

    def _make_room(self, newest: Path) -> None:
        files = sorted(newest.parent.glob(f"*{SUFFIX}"), key=lambda p: p.stat().st_mtime_ns)
        total = sum(p.stat().st_size for p in files)
        for path in files:
            if total <= self.limit_gb * 1e9 or path == newest:
                break
            total -= path.stat().st_size
            path.unlink(missing_ok=True)


def fingerprint(*parts: object) -> str:
    """A digest of texts and numbers, of our own code that makes features, and of the package's version."""
    text = "\0".join([installed_version("equissl"), _code(), *map(str, parts)])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def weights_fingerprint(module: nn.Module) -> str:
    """A digest of a module's structure, weights and buffers."""
    digest = hashlib.blake2b(str(module).encode(), digest_size=16)
    for name, values in (*module.named_parameters(), *module.named_buffers()):
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@functools.cache
def _code() -> str:
    """A version number does not change while the code is being worked on."""
    root = Path(__file__).parents[1]
    digest = hashlib.blake2b(digest_size=8)
    files = [p for name in _CODE for p in sorted((root / name).rglob("*.*"))]
    sources = [p for p in files if p.suffix in (".py", ".c")]
    for path in (*sources, root / "random.py", root / "views.py", Path(__file__).with_name("features.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _write(path: Path, table: FeatureTable) -> None:
    tensors = {"vectors": table.vectors, "labels": table.labels, "groups": table.groups}
    tensors |= {f"value/{k}": v for k, v in table.params.values.items()}
    tensors |= {f"applied/{k}": v for k, v in table.params.applied.items()}
    parts = {name: [columns.start, columns.stop] for name, columns in table.parts.items()}
    write_checked(path, parts, tensors)


def _read(path: Path, space: Space) -> FeatureTable | None:
    """None if there is no such file, or none that makes sense."""
    try:
        parts, tensors = read_checked(path)
        values = {f.name: tensors[f"value/{f.name}"] for f in space}
        flags = {f.name: tensors[f"applied/{f.name}"] for f in space}
        params = Params(space, values, flags, len(tensors["labels"]))
        columns = {name: slice(int(start), int(stop)) for name, (start, stop) in parts.items()}
        os.utime(path)
    except (OSError, UserError, KeyError, ValueError, TypeError, AttributeError):
        return None
    return FeatureTable(tensors["vectors"], tensors["labels"], params, tensors["groups"], columns)
