"""Weights of a backbone, from a file of any common layout or by published name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from equissl.encoder.published import find_published, is_published
from equissl.encoder.weight_files import flatten, read_tensors
from equissl.encoder.weight_fitting import LoadedWeights, fit
from equissl.errors import UserError

Say = Callable[[str], object]


def silent(line: str) -> None:
    """Says nothing."""


def load_weights(backbone: nn.Module, source: str | Path, name: str = "", say: Say = silent) -> LoadedWeights:
    """Load weights into a backbone, whatever stands before their names; a classifier is ignored.

    Args:
        source: a file, the folder of a run or an export, or a published name (``find_published``).
        name: the backbone's name in timm, for ``source="pretrained"`` and in messages.
        say: called with a line before anything is fetched.

    Raises:
        UserError: no such file or name, other objects in it, or weights that do not fit the backbone.
    """
    if is_published(str(source)):
        published = find_published(str(source), name)
        say(published.line())
        found, shown, inputs = flatten(published.read()), published.name, published.inputs
    else:
        found, shown, inputs = read_tensors(Path(source)), str(source), None
    fitted = fit(backbone, found, shown, name)
    wanted = {n: t.dtype for n, t in backbone.state_dict().items()}
    state = {n: _converted(t, wanted[n], n, shown) for n, t in fitted.state.items()}
    broken = next((n for n, t in state.items() if not bool(t.isfinite().all())), "")
    if broken:
        raise UserError(f"weights: {shown!r} holds numbers that are not finite, first in {broken!r}")
    backbone.load_state_dict(state, strict=False)  # fit has checked the names
    return replace(fitted.report, inputs=inputs)


def _converted(values: Tensor, wanted: torch.dtype, name: str, source: str) -> Tensor:
    """A tensor in the number type of the backbone's.

    Raises:
        UserError: its numbers are integers (of a quantised model), complex or truth values, which torch would
            convert without a word.
    """
    whole = not (values.is_complex() or values.is_quantized)
    if not (values.is_floating_point() or (whole and not wanted.is_floating_point)):
        raise UserError(
            f"weights: {source!r} holds numbers of the type {values.dtype} in {name!r}, where {wanted} is "
            "needed; save the weights of the model before it was quantised or converted"
        )
    return values.to(wanted)
