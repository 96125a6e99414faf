"""Build and call ``native.c``: the common augmentations in one pass over an image, on the CPU.

A wheel carries the compiled code; in a source checkout it is compiled once per machine with the system's C
compiler (about two seconds) and kept in the user's cache folder (``native_build.py``). Without either
everything still works, on torch. Every instruction set gives the same bits.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from equissl.augment import native_build, native_compile
from equissl.augment.base import NativeStep
from equissl.augment.memory import empty
from equissl.errors import UserError

_SOURCE = Path(__file__).with_name("native.c")
KINDS = (  # in the order of the enum in native.c
    "crop",
    "horizontal_flip",
    "vertical_flip",
    "jitter",
    "grayscale",
    "solarize",
    "invert",
    "blur",
    "normalize",
)
_NEEDS_RGB = ("jitter", "grayscale", "normalize")
_DTYPES = {torch.uint8: 0, torch.float32: 1, torch.bfloat16: 2}
_MIN_IMAGES_PER_THREAD = 8
_BLOCK_PIXELS = 1 << 16  # that a thread takes at a time


class _Step(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int32),
        ("columns", ctypes.c_int32),
        ("ints", ctypes.c_int32 * 2),
        ("floats", ctypes.c_float * 8),
        ("values", ctypes.c_void_p),
    ]


def available() -> bool:
    """Whether ``native.c`` can be loaded here (the first call compiles it, unless the wheel carries it)."""
    return not unavailable_reason()


def unavailable_reason() -> str:
    """Why ``native.c`` cannot be compiled and loaded here, in words; "" if it can."""
    library = _library()
    return library if isinstance(library, str) else ""


def instruction_set() -> str:
    """The one that ``native.c`` runs on here: "avx512", "avx2" or "baseline".

    It is torch's own choice for its kernels, so the environment variable ``ATEN_CPU_CAPABILITY`` (avx2,
    default) lowers both.
    """
    capability = torch.backends.cpu.get_cpu_capability().lower()
    return capability if capability in native_compile.instruction_sets() else "baseline"


def is_packaged() -> bool:
    """Whether the compiled code came with the package, so that no compiler is needed."""
    return native_compile.packaged(_SOURCE, instruction_set()).is_file()


def run(images: Tensor, steps: Sequence[NativeStep], dtype: torch.dtype, channels_last: bool) -> Tensor:
    """Apply all steps to every image, on as many threads as torch uses.

    Args:
        images: (B, C, H, W) uint8 or float32 in [0, 1], on the CPU.
        dtype: of the result, float32 or bfloat16.

    Returns:
        (B, C, h, w).

    Raises:
        ValueError: a color step on images without three channels.
        UserError: out of memory.
    """
    library = _library()
    assert not isinstance(library, str), f"call available() first: {library}"
    images = images.contiguous()
    for step in steps:
        if step.values is not None and (len(step.values) != len(images) or step.values.device.type != "cpu"):
            raise ValueError(
                f"{step.kind}: {tuple(step.values.shape)} values for {len(images)} images on the CPU"
            )
    count, channels, height, width = images.shape
    if channels != 3 and any(s.kind in _NEEDS_RGB for s in steps):
        raise ValueError(f"color operations need images with 3 channels, got {channels}")
    sizes, taps = _sizes_and_taps((height, width), steps)
    values = [None if s.values is None else s.values.to(torch.float32).contiguous() for s in steps]
    table = (_Step * len(steps))(*(_pack(s, v) for s, v in zip(steps, values, strict=True)))
    out = empty((count, channels, *sizes[-1]), dtype, channels_last)
    pixels = channels * max(h * w for h, w in sizes)
    side = max(map(max, sizes))

    threads = max(1, min(torch.get_num_threads(), count // _MIN_IMAGES_PER_THREAD))
    # Images cost differently, and cores may be busy with something else: who is free takes the next ones.
    block = max(1, min(_BLOCK_PIXELS // max(1, pixels), count // threads))
    untaken = (ctypes.c_int64 * threads)(*(count * k // threads for k in range(threads)))

    def apply_steps(thread: int) -> int:
        failed: int = library(
            images.data_ptr(), _DTYPES[images.dtype], channels, height, width, table, len(steps),
            out.data_ptr(), _DTYPES[dtype], int(channels_last), pixels, side, taps,
            count, block, threads, thread, untaken,
        )  # fmt: skip
        return failed

    others = [_pool(threads - 1).submit(apply_steps, k) for k in range(1, threads)]
    if any([apply_steps(0), *(other.result() for other in others)]):
        raise UserError(f"not enough memory to augment {count} images; lower batch_size")
    return out


def _sizes_and_taps(size: tuple[int, int], steps: Sequence[NativeStep]) -> tuple[list[tuple[int, int]], int]:
    """The (h, w) before and after each resizing step, and the taps of the widest filter."""
    sizes, taps = [size], 1
    for step in steps:
        if step.size is not None:
            downscale = max(1.0, max(sizes[-1]) / min(step.size))
            taps = max(taps, math.ceil(2 * step.filter_radius * downscale))
            sizes.append(step.size)
        if step.kind == "blur":
            taps = max(taps, step.ints[0])
    return sizes, taps


def _pack(step: NativeStep, values: Tensor | None) -> _Step:
    columns, address = (0, None) if values is None else (values.shape[1], values.data_ptr())
    ints, floats = (ctypes.c_int32 * 2)(*step.ints), (ctypes.c_float * 8)(*step.floats)
    return _Step(KINDS.index(step.kind), columns, ints, floats, address)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="equissl-augment")


# A forked child inherits the pool but not its threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def _library() -> ctypes._NamedFuncPointer | str:
    """The function of ``native.c``, or why there is none."""
    return _load(instruction_set())


@functools.cache
def _load(instruction_set: str) -> ctypes._NamedFuncPointer | str:
    try:
        function = native_build.load(_SOURCE, "equissl_apply", instruction_set).equissl_apply
    except native_compile.BuildError as error:
        return str(error)
    pointer, int32, int64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
    function.argtypes = (
        pointer,
        int32,
        int64,
        int64,
        int64,
        pointer,
        int32,
        pointer,
        int32,
        int32,
        *(int64,) * 5,
        int32,
        int32,
        pointer,
    )
    function.restype = ctypes.c_int
    return function
