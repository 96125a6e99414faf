"""Random-init copies of modules that only their owner can build."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from equissl.encoder.encoder import Encoder
from equissl.errors import UserError

_DRAWING = ("_reset_parameters", "init_weights")  # torch's attention and transformers; timm's models


def reinitialized(encoder: Encoder) -> Encoder:
    """A copy of an encoder with new weights from torch's global random state.

    Every layer draws its own by ``reset_parameters``; the parameters of a module without one, by its
    ``_reset_parameters`` or ``init_weights``.

    Raises:
        UserError: a parameter is left that none of them draws; the baseline would not be untrained.
    """
    untrained = copy.deepcopy(encoder)
    with torch.no_grad():
        for parameter in untrained.backbone.parameters():
            if parameter.is_floating_point():
                parameter.fill_(torch.nan)  # so that one which nothing draws is seen
    for layer in untrained.modules():
        _draw(layer, "reset_parameters")
    for module, method in ((m, n) for m in _left(untrained.backbone).values() for n in _DRAWING):
        if any(bool(p.isnan().any()) for p in module.parameters(recurse=False)):
            _draw(module, method)
    if left := _left(untrained.backbone):
        name, owner = next(iter(left.items()))
        raise UserError(
            f"the random-init baseline needs new weights of the backbone, but {name!r} belongs to a "
            f"{type(owner).__name__}, which has no reset_parameters() to draw it; give it one, or name the "
            "backbone by a function that builds it (encoder.name=module:function)"
        )
    return untrained


def _draw(module: nn.Module, method: str) -> None:
    draw: Callable[[], Any] | None = getattr(module, method, None)
    if callable(draw):
        draw()


def _left(backbone: nn.Module) -> dict[str, nn.Module]:
    """Parameters that nothing has drawn yet, with the modules they belong to."""
    owners = dict(backbone.named_modules())
    names = [n for n, p in backbone.named_parameters() if bool(p.isnan().any())]
    return {n: owners[n.rpartition(".")[0]] for n in names}
