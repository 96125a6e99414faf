"""Check that a torchvision v2 transform gives the same image whenever it runs with the same seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from equissl.augment.torchvision.tracing import Trace, numbers, running
from equissl.random import generators_restored

_SEEDS = range(8)


def unseeded_part(transform: v2.Transform, shape: tuple[int, int, int]) -> str:
    """The name of a part of ``transform`` whose result the seed does not decide; "" if there is none.

    The parts are tried one by one, since one may be run rarely, and then the whole.

    Args:
        shape: (C, H, W) of an image that the transform accepts.
    """
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for part, made in [*_parts(transform, image), (transform, image)]:
        if not _is_seeded(part, made):
            return _name(part)
    return ""


def _parts(transform: object, image: Tensor) -> Iterator[tuple[v2.Transform, Tensor]]:
    """Every part with an image like those it gets, as far as parts run one after the other."""
    nested = getattr(transform, "transforms", transform if isinstance(transform, nn.Sequential) else None)
    if not isinstance(nested, Iterable):
        if isinstance(transform, v2.Transform):
            yield transform, image
        elif callable(transform):  # a function, or a module that is no transform
            yield v2.Lambda(transform), image
        return
    for part in nested:
        yield from _parts(part, image)
        if isinstance(transform, v2.Compose | nn.Sequential):
            try:
                with generators_restored():
                    image = part(image.clone())
            except Exception:  # whatever a foreign part raises; the whole is tried anyway
                return


def _is_seeded(part: v2.Transform, image: Tensor) -> bool:
    """Whether runs in another order give the same images and parameters."""
    with running(part) as run:
        try:
            first, again = (
                {seed: (view.clone(), trace) for seed in seeds for view, trace in [run(image.clone(), seed)]}
                for seeds in (_SEEDS, reversed(_SEEDS))
            )
        except Exception:  # a part that cannot run on its own; that the whole can, was checked before
            return True
    return all(_same(first[seed], again[seed]) for seed in _SEEDS)


def _same(a: tuple[Tensor, Trace], b: tuple[Tensor, Trace]) -> bool:
    values = [{leaf: numbers(leaf, params) for leaf, params in trace.items()} for _, trace in (a, b)]
    return values[0] == values[1] and torch.equal(a[0].nan_to_num(nan=-1e9), b[0].nan_to_num(nan=-1e9))


def _name(part: v2.Transform) -> str:
    function = getattr(part, "lambd", None)
    name = type(part).__name__
    return f"{name}({getattr(function, '__qualname__', type(function).__name__)})" if function else name
