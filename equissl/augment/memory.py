"""Memory for the views of a batch."""

from __future__ import annotations

import contextlib
import math
import mmap
import sys

import torch
from torch import Tensor

# Bytes from which on malloc takes memory from the kernel each time and gives it back
# (DEFAULT_MMAP_THRESHOLD_MAX of glibc on 64 bits). The kernel then clears page after page of four kilobytes
# as they are touched, one thread at a time, which takes as long as the augmentations themselves.
_LARGE = 32 << 20


def empty(shape: tuple[int, ...], dtype: torch.dtype, channels_last: bool = False) -> Tensor:
    """As ``torch.empty`` on the CPU, (B, C, H, W); large ones in huge pages where Linux has them."""
    size = math.prod(shape) * dtype.itemsize
    if size > _LARGE and sys.platform == "linux":
        with contextlib.suppress(OSError):  # no memory, or a kernel without huge pages
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            memory.madvise(mmap.MADV_HUGEPAGE)
            flat = torch.frombuffer(memory, dtype=dtype)
            b, c, height, width = shape
            return flat.view(b, height, width, c).permute(0, 3, 1, 2) if channels_last else flat.view(shape)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=dtype, memory_format=layout)
