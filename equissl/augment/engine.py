"""Apply recorded parameters with batched torch operations, native code or torch.compile."""

from __future__ import annotations

import functools
import itertools
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from equissl.augment import native
from equissl.augment.base import Augmentation, NativeStep, Pipeline
from equissl.augment.batched import as_float
from equissl.augment.memory import empty
from equissl.distributed import rank
from equissl.errors import UserError
from equissl.params import Params

Engine = Literal["auto", "torch", "native", "compile"]
_COUNTER = itertools.count()
_MAX_CHUNK_NUMEL = 1 << 20  # on a CPU, so that memory does not grow with the batch


def check_engine(engine: str) -> None:
    """Check the name of an engine.

    Raises:
        ValueError: there is no such engine.
    """
    if engine not in get_args(Engine):
        raise ValueError(f"engine must be one of {', '.join(get_args(Engine))}, got {engine!r}")


def resolve_engine(engine: Engine, device: torch.device | str = "cpu") -> Engine:
    """Resolve "auto" on a device: native code on a CPU where it is in the wheel or compiles, else torch.

    A CPU without native code is said once as a ``UserWarning``, with the reason.

    Raises:
        UserError: engine "native" is not available.
    """
    on_cpu = torch.device(device).type == "cpu"
    if engine == "native":
        if not on_cpu:
            raise UserError(f"engine=native works on the CPU only, not on {device}; use torch or compile")
        if not native.available():
            raise UserError(
                f"engine=native needs compiled code: {native.unavailable_reason()}. "
                "Install a C compiler (cc) or a wheel for this platform, or use engine=torch"
            )
    if engine != "auto":
        return engine
    if on_cpu and not native.available():
        _say_fallback(native.unavailable_reason())
    return "native" if on_cpu and native.available() else "torch"


# equissl pretrain recipe=quickstart.invariant data.objects=200 epochs=1 engine=torch, then engine=native
# (seed 0, one thread of 2 x86-64 cores); several times that with strong augmentations of large images.
COST = "Views then take 13 % of a step of a small network instead of 6 %, and more for larger images"


@functools.cache
def _say_fallback(reason: str) -> None:
    """Say once, in the first process, that augmentations run on torch."""
    if rank() == 0:
        warnings.warn(
            f"augmentations run on torch: {reason}. {COST}. "
            "Install a C compiler (cc) or a wheel for this platform, or set engine=torch, which is silent",
            stacklevel=3,
        )


def render(
    augmentation: Augmentation,
    images: Tensor,
    params: Params,
    engine: Engine = "torch",
    dtype: torch.dtype | None = None,
    channels_last: bool = False,
) -> Tensor:
    """Make the views that recorded parameters describe.

    An image's view is bit for bit the same in any batch. Engines differ from each
    other by rounding (at most 1e-5 on images of usual sizes); where an operation jumps, as solarize does at
    its threshold, a value that rounding puts on the other side differs by the jump.

    Args:
        images: (B, C, H, W), uint8 or float in [0, 1]; half precision is computed in single.
        params: recorded parameters, on the same device, one row per image.
        engine: "torch" is the reference. "native" takes one pass per image in C (CPU only; steps that are
            not native_step there run on torch). "compile" fuses the torch operations (about a minute once
            per policy and shape; torch keeps the result in its cache folder). "auto" see ``resolve_engine``.
        dtype: of the views, floating; by default float32, or float64 for images in float64.
        channels_last: whether the channels of a pixel lie together in memory.

    Returns:
        (B, C, h, w).

    Raises:
        UserError: "native" where it is neither in the wheel nor compiles, or not on a CPU.
        ValueError: the parameters are of another number of images or on another device, or ``dtype`` is not
            floating.
    """
    check_engine(engine)
    if params.count != len(images):
        raise ValueError(f"parameters of {params.count} images cannot be applied to {len(images)}")
    if params.device not in (None, images.device):
        raise ValueError(f"the parameters are on {params.device}, the images on {images.device}")
    if dtype is None:
        dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    if not dtype.is_floating_point:
        raise ValueError(f"dtype must be floating, got {dtype}")
    if images.dtype in (torch.float16, torch.bfloat16):
        images = images.float()
    resolved = resolve_engine(engine, images.device)
    if resolved == "native" and images.dtype in (torch.uint8, torch.float32):
        stored = dtype if dtype in (torch.float32, torch.bfloat16) else torch.float32
        return _native(augmentation, images, params, stored, channels_last).to(dtype)
    apply = _compiled(augmentation) if resolved == "compile" else functools.partial(_apply, augmentation)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    if resolved == "compile":
        views = apply(images, params)
    else:
        views = _in_chunks(augmentation, images, params, apply)
    return views.to(dtype, memory_format=layout)


def _apply(augmentation: Augmentation, images: Tensor, params: Params) -> Tensor:
    return augmentation.apply(as_float(images), params)


@functools.cache
def _compiled(augmentation: Augmentation) -> Callable[[Tensor, Params], Tensor]:
    # A code object of its own: torch gives up on one that it has compiled eight times.
    code = _apply.__code__.replace(co_name=f"_apply_{next(_COUNTER)}")
    own = types.FunctionType(code, _apply.__globals__)
    compiled: Callable[[Tensor, Params], Tensor] = torch.compile(
        functools.partial(own, augmentation), dynamic=False
    )
    return compiled


def _in_chunks(
    augmentation: Augmentation, images: Tensor, params: Params, apply: Callable[[Tensor, Params], Tensor]
) -> Tensor:
    height, width = augmentation.output_size((images.shape[2], images.shape[3]))
    each = images.shape[1] * max(images.shape[2] * images.shape[3], height * width)
    step = max(1, _MAX_CHUNK_NUMEL // each)
    if images.device.type != "cpu" or len(images) == 0:
        return apply(images, params)
    views: Tensor | None = None
    for first in range(0, len(images), step):
        rows = slice(first, first + step)
        part = apply(images[rows], params[rows])
        views = empty((len(images), *part.shape[1:]), part.dtype) if views is None else views
        views[rows] = part
    assert views is not None
    return views


def _native(
    augmentation: Augmentation, images: Tensor, params: Params, dtype: torch.dtype, channels_last: bool
) -> Tensor:
    """Consecutive native steps run together in one pass; the others run on torch in between."""
    pending: list[NativeStep] = []
    for step in _steps(augmentation):
        native_step = step.native(params)
        if native_step is not None:
            pending.append(native_step)
            continue
        if pending:
            images, pending = native.run(images, pending, torch.float32, False), []
        images = _in_chunks(step, images, params, functools.partial(_apply, step))
    return native.run(images, pending, dtype, channels_last)


def _steps(augmentation: Augmentation) -> Iterator[Augmentation]:
    if isinstance(augmentation, Pipeline):
        for step in augmentation.steps:
            yield from _steps(step)
    else:
        yield augmentation
