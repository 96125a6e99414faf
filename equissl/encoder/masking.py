"""Hidden patches of a transformer: a learned token stands where a patch was (BEiT, arXiv:2106.08254, 2.3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def token(backbone: nn.Module) -> nn.Parameter:
    """What stands for a hidden patch before training: zeros, (D,).

    Raises:
        ValueError: the backbone is no transformer of timm's kind.
    """
    if not hasattr(backbone, "patch_embed") or not hasattr(backbone, "embed_dim"):
        raise ValueError("mask_token is for transformers of patches, but the backbone is none")
    return nn.Parameter(torch.zeros(int(backbone.embed_dim)))  # type: ignore[arg-type]


@contextmanager
def hiding(backbone: nn.Module, mask_token: Tensor | None, hidden: Tensor) -> Iterator[None]:
    """Within, the patch embedding yields the token where ``hidden`` (B, h * w) is 1; positions stay known.

    Raises:
        ValueError: no token was asked for, or the mask is not for as many patches as the image has.
    """
    if mask_token is None:
        raise ValueError("patches are hidden, but the encoder has no mask token; set encoder.mask_token=true")

    def replace(module: nn.Module, args: Any, embedded: Tensor) -> Tensor:
        shape = embedded.shape[:-1]
        if hidden.numel() != shape.numel():
            raise ValueError(
                f"the mask is for {hidden.shape[1]} patches, but an image has {shape.numel() // shape[0]}"
            )
        return torch.where(hidden.view(*shape, 1) > 0.5, mask_token.to(embedded.dtype), embedded)

    # A hook, because timm's transformers have no other way in between embedding and blocks.
    handle = backbone.patch_embed.register_forward_hook(replace)  # type: ignore[union-attr]
    try:
        yield
    finally:
        handle.remove()
