"""Which module's output is not finite first."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from equissl.encoder.modes import eval_mode


@contextmanager
def not_finite_outputs(model: nn.Module) -> Iterator[list[str]]:
    """Within, the modules whose outputs are not finite are listed in the order in which they are computed."""
    seen: list[str] = []

    def look(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not all(is_finite(t) for t in _tensors(output)):
                seen.append(f"output of {_own_name(name)} ({type(module).__name__})")

        return hook

    handles = [m.register_forward_hook(look(name)) for name, m in model.named_modules() if name]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def first_not_finite(model: nn.Module, images: Tensor) -> str:
    """What of a network in evaluation mode is not finite first, for these images: "output of layer1 (ReLU)".

    A parameter comes before any output; "" if all are finite. Layers are called as by their backbone.
    """
    for name, values in (*model.named_parameters(), *model.named_buffers()):
        if not is_finite(values):
            return f"{'parameter' if isinstance(values, nn.Parameter) else 'buffer'} {_own_name(name)}"
    with torch.no_grad(), eval_mode(model), not_finite_outputs(model) as seen:
        model(images)
    return seen[0] if seen else ""


def _own_name(name: str) -> str:
    """A name inside a backbone, without those of what equissl wraps it in."""
    return re.sub(r"^(encoders\.\d+\.)?(backbone\.)+", "", name)


def is_finite(values: Tensor) -> bool:
    """Whether no number is infinite or NaN."""
    return bool(values.isfinite().all())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif dataclasses.is_dataclass(value):
        yield from _tensors(list(vars(value).values()))
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
