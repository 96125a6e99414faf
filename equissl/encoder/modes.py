"""Evaluation mode and channels-last weights for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def eval_mode(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode, and afterwards every submodule in the mode it was in."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def channels_last(module: nn.Module) -> Iterator[None]:
    """Convolution weights in channels-last memory, which a CPU computes faster with; afterwards as they were.

    The weights must not be changed meanwhile.
    """
    kept = [(p, p.data) for p in module.parameters() if p.dim() == 4]
    for p, data in kept:
        p.data = data.contiguous(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for p, data in kept:
            p.data = data
