"""Laws of a factor's arithmetic."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from equissl.params import Factor


def check_factor(factor: Factor, draw: Tensor, atol: float = 1e-5) -> None:
    """Check that ``factor`` keeps the laws on values ``draw`` (B, size), B at least 2.

    Raises:
        AssertionError: naming the law.
    """
    n = len(draw)
    other = draw.roll(1, 0)
    relative = factor.relative()
    rest = relative.neutral(n).to(draw.dtype)
    close = partial(_close, atol=atol)

    assert factor.encode(draw).shape == (n, factor.encoded_size), "encode has another width than it says"
    close(factor.encode(factor.decode(factor.encode(draw))), factor.encode(draw), "decode undoes encode")
    close(factor.encode(factor.alias(draw)), factor.encode(draw), "an alias has the same encoding")
    close(relative.encode(factor.between(draw, draw)), relative.encode(rest), "no change is neutral")
    close(
        relative.encode(factor.between(factor.neutral(n).to(draw), draw)),
        relative.encode(factor.between(factor.neutral(n).to(draw), factor.alias(draw))),
        "an alias is reached by the same change",
    )
    there, back = factor.between(draw, other), factor.between(other, draw)
    undone = relative.between(relative.between(back, rest), there)
    close(relative.encode(undone), relative.encode(rest), "the way back undoes the way there")
    sure = relative.encode(there) * (20 if factor.discrete or _is_choice(relative, there) else 1)
    assert (relative.error(sure, there) < 1e-3).all(), f"{factor.name}: a perfect guess has an error"
    _check_interpolation(factor, draw, other)
    _check_elements(factor, draw)


def _check_interpolation(factor: Factor, start: Tensor, end: Tensor) -> None:
    try:
        first, last = (factor.interpolate(start, end, t) for t in (0.0, 1.0))
    except TypeError:
        return
    close = partial(_close, atol=1e-3)
    close(factor.encode(first), factor.encode(start), "interpolation begins at the start")
    close(factor.encode(last), factor.encode(end), "interpolation arrives at the end")
    middle = factor.interpolate(start, end, 0.5)
    relative = factor.relative()
    close(
        relative.encode(factor.between(start, middle)),
        relative.encode(factor.between(middle, end)),
        "the middle is as far from the start as from the end",
    )


def _check_elements(factor: Factor, draw: Tensor) -> None:
    try:
        every = factor.elements().to(draw)
    except ValueError:
        return
    _close(every[:1], factor.neutral(1).to(draw), "the neutral value is the first element", atol=0.0)
    assert factor.element(every).tolist() == list(range(len(every))), "every element is its own"
    encoded = factor.encode(every[factor.element(draw)])
    _close(encoded, factor.encode(draw), "every value is an element", atol=1e-5)


def _is_choice(factor: Factor, value: Tensor) -> bool:
    encoded = factor.encode(value)
    return encoded.shape[1] > factor.size and bool(((encoded == 0) | (encoded == 1)).all())


def _close(found: Tensor, wanted: Tensor, law: str, atol: float) -> None:
    torch.testing.assert_close(found, wanted, atol=atol, rtol=atol, msg=lambda detail: f"{law}: {detail}")
