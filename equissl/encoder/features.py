"""Pooled features and feature map of a backbone: of timm, torchvision, Hugging Face, or one's own."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

Features = tuple[Tensor, Tensor | None]

_EXPECTED = (
    "expected one tensor (B, D), (B, D, h, w) or (B, tokens, D); wrap the module in one that returns it"
)


def features(backbone: nn.Module, x: Tensor) -> Features:
    """(B, C, H, W) -> pooled features (B, D) and, if there is one, the feature map (B, D, h, w).

    A backbone whose parameters are not float32 gets images of their type, and its features come back in
    that of ``x``.

    Raises:
        ValueError: what the backbone returns has several readings.
    """
    dtype = next((p.dtype for p in backbone.parameters() if p.is_floating_point()), torch.float32)
    if dtype == torch.float32:
        return _features(backbone, x)
    vector, grid = _features(backbone, x.to(dtype))
    return vector.to(x.dtype), None if grid is None else grid.to(x.dtype)


def patch_size(backbone: nn.Module) -> int:
    """Side in pixels of a transformer's patches that must divide the images; 0 if it has no such patches."""
    embed = getattr(backbone, "patch_embed", None)
    found = 0 if getattr(embed, "dynamic_img_pad", False) else getattr(embed, "patch_size", 0)
    sides = set(found) if isinstance(found, tuple | list) else {found}
    side = sides.pop() if len(sides) == 1 else 0
    return side if isinstance(side, int) else 0


def _features(backbone: nn.Module, x: Tensor) -> Features:
    if not (hasattr(backbone, "forward_features") and hasattr(backbone, "forward_head")):
        return read_output(backbone(x))
    maps: Any = backbone.forward_features(x)  # type: ignore[operator]
    classifier = _classifier(backbone)
    before = _has_pre_logits(cast("Any", type(backbone))) and isinstance(classifier, nn.Linear | nn.Identity)
    head: Any = backbone.forward_head
    vector, _ = read_output(head(maps, pre_logits=True) if before else head(maps))
    grid = _grid(backbone, maps, (x.shape[2], x.shape[3])) if before and isinstance(maps, Tensor) else None
    if before and isinstance(classifier, nn.Linear):
        vector = classifier(vector)
        if grid is not None:  # a layer between pooling and classifier may change the width
            fits = grid.shape[1] == classifier.in_features
            grid = classifier(grid.movedim(1, 3)).movedim(3, 1) if fits else None
    return vector, grid


def read_output(out: Any) -> Features:
    """What a module returned, as pooled features and a feature map.

    Accepted are a tensor (B, D) or (B, D, h, w); one of each; tokens (B, h * w, D) or, after a class token,
    (B, 1 + h * w, D), alone or under ``last_hidden_state``; DINOv2's ``x_norm_clstoken``; and the
    ``pooler_output`` of Hugging Face.

    Raises:
        ValueError: it has several readings; the message says what came.

    >>> vector, grid = read_output({"last_hidden_state": torch.zeros(2, 10, 8), "pooler_output": None})
    >>> vector.shape, grid.shape
    (torch.Size([2, 8]), torch.Size([2, 8, 3, 3]))
    """
    if isinstance(out, Tensor) and out.dim() == 3:
        return _tokens(out)
    named = _named(out)
    if "x_norm_clstoken" in named:
        return named["x_norm_clstoken"], _square(named.get("x_norm_patchtokens"))
    hidden, pooled = named.get("last_hidden_state"), named.get("pooler_output")
    grid = hidden if hidden is not None and hidden.dim() == 4 else None
    if hidden is not None and hidden.dim() == 3:
        if pooled is None:
            pooled, grid = _tokens(hidden)
        else:  # registers may stand between the class token and those of patches
            grid = _square(hidden) if _square(hidden) is not None else _square(hidden[:, 1:])
    if pooled is not None and pooled.dim() in (2, 4):
        return pooled.flatten(1), grid
    vectors = [t for t in named.values() if t.dim() == 2]
    maps = [t for t in named.values() if t.dim() == 4]
    if grid is not None:
        vectors, maps = [], [grid]
    if (
        len(vectors) > 1
        or len(maps) > 1
        or len(vectors) + len(maps) < (1 if grid is not None else len(named))
    ):
        raise ValueError(f"the backbone returns {_described(out)}, which has several readings; {_EXPECTED}")
    if not vectors and not maps:
        raise ValueError(f"the backbone returns {_described(out)}; {_EXPECTED}")
    grid = maps[0] if maps else None
    if vectors:
        return vectors[0], grid
    return maps[0].mean((2, 3)), grid


def _named(out: Any) -> dict[str, Tensor]:
    """The tensors of an output by name, or by number."""
    if isinstance(out, Tensor):
        return {"": out}
    if isinstance(out, tuple | list):
        pairs = [(str(k), v) for k, v in enumerate(out)]
    else:
        inside = out if isinstance(out, Mapping) else getattr(out, "__dict__", {})
        pairs = [(str(k), v) for k, v in inside.items()]
    return {k: v for k, v in pairs if isinstance(v, Tensor)}


def _tokens(hidden: Tensor) -> tuple[Tensor, Tensor | None]:
    """Tokens (B, N, D) -> the class token, or their mean if there is none, and the map of the others."""
    if (grid := _square(hidden)) is not None:
        return hidden.mean(1), grid
    grid = _square(hidden[:, 1:])
    if grid is None:
        raise ValueError(
            f"the backbone returns {hidden.shape[1]} tokens, which are neither a square of "
            f"patches nor a class token before one; {_EXPECTED}"
        )
    return hidden[:, 0], grid


def _square(tokens: Tensor | None) -> Tensor | None:
    """(B, h * h, D) -> (B, D, h, h); None for another number of tokens."""
    if tokens is None or tokens.dim() != 3 or math.isqrt(tokens.shape[1]) ** 2 != tokens.shape[1]:
        return None
    side = math.isqrt(tokens.shape[1])
    return tokens.movedim(2, 1).reshape(len(tokens), -1, side, side)


def _described(out: Any) -> str:
    """Types and shapes of an output, for a message."""
    if isinstance(out, Tensor):
        return f"a tensor {tuple(out.shape)}"
    named = _named(out)
    if not named:
        return f"a {type(out).__name__} without tensors"
    inside = ", ".join(f"{k}: {tuple(t.shape)}" for k, t in named.items())
    return f"a {type(out).__name__} of tensors ({inside})"


def _classifier(backbone: nn.Module) -> nn.Module:
    """What ``num_classes`` adds to a timm model; some cannot name theirs once it is away."""
    try:
        found = getattr(backbone, "get_classifier", nn.Identity)()
    except AttributeError:
        return nn.Identity()
    empty = isinstance(found, nn.ModuleList) and all(isinstance(m, nn.Identity) for m in found)
    return nn.Identity() if empty or not isinstance(found, nn.Module) else found


@functools.cache
def _has_pre_logits(backbone: Any) -> bool:
    """Whether a class of timm takes ``forward_head(..., pre_logits=...)``."""
    return "pre_logits" in inspect.signature(backbone.forward_head).parameters


def _grid(backbone: nn.Module, maps: Tensor, size: tuple[int, int]) -> Tensor | None:
    """Features as timm's models give them, as (B, D, h, w); None where they do not lie in the image."""
    if maps.dim() == 4:
        last = str(getattr(backbone, "output_fmt", "NCHW")) == "NHWC"
        return maps.movedim(3, 1) if last else maps
    sized = getattr(getattr(backbone, "patch_embed", None), "dynamic_feat_size", None)
    if maps.dim() != 3 or sized is None:
        return None
    tokens = maps[:, getattr(backbone, "num_prefix_tokens", 0) :]
    height, width = sized(size)
    if height * width != tokens.shape[1]:
        return None
    return tokens.movedim(2, 1).reshape(len(tokens), -1, height, width)
