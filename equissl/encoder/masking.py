"""Masked patches of a transformer: a learned mask token in place of embeddings (BEiT, arXiv:2106.08254)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def build_mask_token(backbone: nn.Module) -> nn.Parameter:
    """A mask token of zeros, (D,), for a timm transformer.

    Raises:
        ValueError: the backbone has no patch embedding.
    """
    if not hasattr(backbone, "patch_embed") or not hasattr(backbone, "embed_dim"):
        raise ValueError("mask_token is for transformers of patches, but the backbone is none")
    return nn.Parameter(torch.zeros(int(backbone.embed_dim)))  # type: ignore[arg-type]


@contextmanager
def masked_patches(backbone: nn.Module, mask_token: Tensor | None, mask: Tensor) -> Iterator[None]:
    """Within, the token replaces patch embeddings where ``mask`` (B, h * w) is 1; positions are added after.

    Raises:
        ValueError: there is no mask token, or the mask is not for as many patches as the image has.
    """
    if mask_token is None:
        raise ValueError("patches are masked, but the encoder has no mask token; set encoder.mask_token=true")

    def replace(module: nn.Module, args: Any, embedded: Tensor) -> Tensor:
        shape = embedded.shape[:-1]
        if mask.numel() != shape.numel():
            raise ValueError(
                f"the mask is for {mask.shape[1]} patches, but an image has {shape.numel() // shape[0]}"
            )
        return torch.where(mask.view(*shape, 1) > 0.5, mask_token.to(embedded.dtype), embedded)

    # A hook, because timm's transformers have no other way in between embedding and blocks.
    handle = backbone.patch_embed.register_forward_hook(replace)  # type: ignore[union-attr]
    try:
        yield
    finally:
        handle.remove()
