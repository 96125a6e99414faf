"""One SHA-256 of tensors and plain data, computed by several threads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from equissl.distributed import available_cores

_BLOCK = 1 << 24  # bytes that one thread takes at a time; the digest depends on it
_THREADS = 8  # at most


def digest(*values: object) -> str:
    """SHA-256, in hexadecimal, of tensors and plain data, nested in any way.

    It covers names, order, types, shapes and every bit of the tensors; a list and a tuple count as the same.

    >>> digest({"a": torch.zeros(2)}) == digest({"a": torch.zeros(2)})
    True
    >>> digest({"a": torch.zeros(2)}) == digest({"a": torch.zeros(1, 2)})
    False
    """
    with ThreadPoolExecutor(min(_THREADS, available_cores())) as pool:  # hashlib lets other threads run
        parts = pool.map(lambda part: hashlib.sha256(part).digest(), _parts(values))
        return hashlib.sha256(b"".join(parts)).hexdigest()


def check_dense(value: object) -> None:
    """Check that every tensor in nested data holds all its elements.

    A tensor in a file of a few bytes can have more elements than any memory holds: one number repeated, one
    without content (of the device "meta"), or a sparse one.

    Raises:
        ValueError: one does not.
    """
    if isinstance(value, Tensor):
        dense = value.layout == torch.strided and not value.is_nested and value.device.type != "meta"
        if not dense or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f"a tensor of the shape {_shape(value)} does not hold all its elements")
    elif isinstance(value, Mapping):
        for entry in value.values():
            check_dense(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            check_dense(entry)


def _shape(value: Tensor) -> str:
    return "?" if value.is_nested else str(tuple(value.shape))


def _parts(value: object) -> Iterator[bytes | memoryview]:
    """Blocks of bytes that say a value completely."""
    if isinstance(value, Tensor):
        yield f"{value.dtype} {tuple(value.shape)}".encode()
        flat = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
        yield from (flat[start : start + _BLOCK] for start in range(0, len(flat), _BLOCK))
    elif isinstance(value, Mapping):
        yield f"mapping {len(value)}".encode()
        for key, entry in value.items():
            yield repr(key).encode("utf-8", "surrogateescape")
            yield from _parts(entry)
    elif isinstance(value, list | tuple):
        yield f"sequence {len(value)}".encode()
        for entry in value:
            yield from _parts(entry)
    elif isinstance(value, bytes):
        yield value
    else:
        yield f"{type(value).__name__} {value!r}".encode("utf-8", "surrogatepass")
