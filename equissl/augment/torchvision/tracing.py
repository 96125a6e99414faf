"""Seeded runs of a torchvision v2 transform, with the parameters its parts sample."""

from __future__ import annotations

import contextlib
import random
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from equissl.augment.batched import as_float
from equissl.params import Binary, Factor, Permutation, Real
from equissl.random import generators_restored

PROBES = 32  # runs from which parameters and their scales are estimated
_LOCK = threading.RLock()  # the generators that are seeded, and the modules traced, are the process's own
_MAX_COMPONENTS = 16  # longer parameters (noise, a displacement field) are left to the seed
_NEUTRAL_ONE = ("brightness_factor", "contrast_factor", "saturation_factor", "sharpness_factor", "scale")
_UNITS = {
    **dict.fromkeys(("angle", "shear"), "degrees"),
    **dict.fromkeys(("top", "left", "height", "width", "translate", "sigma", "padding"), "pixels"),
    **dict.fromkeys(_NEUTRAL_ONE, "factor"),
    "hue_factor": "turns",
}
Trace = dict[str, dict[str, Any]]  # part -> the parameters of its last call


@dataclass(frozen=True)
class Leaf:
    """A part with randomness of its own; ``optional`` if it is not run for every image."""

    part: v2.Transform
    optional: bool


def leaves(transform: v2.Transform) -> dict[str, Leaf]:
    """The leaf transforms by name: "random_rotation", "random_rotation_2", ..."""
    found: dict[str, Leaf] = {}
    for leaf in _parts(transform, False):
        if any(leaf.part is known.part for known in found.values()):
            continue
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(leaf.part).__name__).lower()
        same = sum(name == words or re.fullmatch(rf"{words}_\d+", name) is not None for name in found)
        found[f"{words}_{same + 1}" if same else words] = leaf
    return found


def _parts(transform: object, optional: bool) -> Iterator[Leaf]:
    nested = isinstance(transform, nn.Sequential)
    sequence = transform if nested else getattr(transform, "transforms", None)
    if isinstance(sequence, Iterable):
        optional = optional or isinstance(transform, v2.RandomApply | v2.RandomChoice)
        for part in sequence:
            yield from _parts(part, optional)
    elif isinstance(transform, v2.Transform):
        yield Leaf(transform, optional or getattr(transform, "p", 1) != 1)


@contextmanager
def running(transform: v2.Transform) -> Iterator[Callable[[Tensor, int], tuple[Tensor, Trace]]]:
    """A function (image, seed) -> (view, sampled parameters); random states are restored afterwards."""
    trace: Trace = {}
    parts = leaves(transform)

    def listen(name: str, part: v2.Transform) -> None:
        original = part.make_params

        def make_params(flat_inputs: list[Any]) -> dict[str, Any]:
            trace[name] = original(flat_inputs)
            return trace[name]

        part.make_params = make_params

    def run(image: Tensor, seed: int) -> tuple[Tensor, Trace]:
        trace.clear()
        _seed(seed)
        view = transform(image)
        if not isinstance(view, Tensor):
            raise ValueError(f"it returns {type(view).__name__}, not a tensor")
        return as_float(view), dict(trace)

    with _LOCK, generators_restored():
        try:
            for name, leaf in parts.items():
                listen(name, leaf.part)
            yield run
        finally:
            for leaf in parts.values():
                leaf.part.__dict__.pop("make_params", None)


def _seed(seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def describe(name: str, leaf: Leaf, traces: list[Trace], image: Tensor) -> tuple[Factor, ...]:
    """The factors that are recorded of a part."""
    seen = [trace[name] for trace in traces if name in trace]
    if len(seen) < PROBES:  # rarely run: sampled directly, if that is possible outside of the transform
        with _LOCK, generators_restored(), contextlib.suppress(Exception):
            _seed(0)
            seen += [leaf.part.make_params([image]) for _ in range(PROBES)]
    columns: dict[str, list[float]] = {}
    for params in seen:
        for key, value in numbers(name, params).items():
            columns.setdefault(key, []).append(value)
    # A number that never changes is a setting, not sampled.
    factors = tuple(_factors(name, {k: v for k, v in columns.items() if len(set(v)) > 1}))
    return factors or ((Binary(name),) if leaf.optional else ())


def numbers(leaf: str, params: Mapping[str, Any]) -> dict[str, float]:
    """The numeric parameters, scalars and short sequences, by factor name."""
    found: dict[str, float] = {}
    for name, value in params.items():
        plain = value.tolist() if isinstance(value, Tensor | np.ndarray) else value
        if _is_number(plain):
            found[f"{leaf}_{name}"] = float(plain)
        elif (
            isinstance(plain, list | tuple) and len(plain) <= _MAX_COMPONENTS and all(map(_is_number, plain))
        ):
            found |= {f"{leaf}_{name}_{k}": float(v) for k, v in enumerate(plain)}
    return found


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float)


def _factors(leaf: str, columns: Mapping[str, list[float]]) -> Iterator[Factor]:
    order = f"{leaf}_fn_idx"  # torchvision's name for the order of four color operations
    whole = {f"{order}_{k}" for k in range(Permutation.length)}
    if whole <= columns.keys() and f"{order}_{Permutation.length}" not in columns:
        yield Permutation(order)
    else:
        whole = set()
    for name, values in columns.items():
        if name not in whole:
            word = re.sub(r"_\d+$", "", name.removeprefix(f"{leaf}_"))
            neutral = float(word in _NEUTRAL_ONE)
            scale = float(np.sqrt(np.mean((np.array(values) - neutral) ** 2)))
            yield Real(
                name, unit=_UNITS.get(word, ""), neutral_value=neutral, scale=scale if scale > 0 else 1.0
            )
