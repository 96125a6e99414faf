"""Prototype head of DINO, iBOT and DINOv2: cosine similarity with learned prototypes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.losses.precision import full_precision, to_float32
from equissl.nn.heads import MLP, HiddenNorm

PrototypeNorm = Literal["fixed", "learned"]


class PrototypeHead(nn.Module):
    """Projector, L2 norm and cosine with each prototype: (B, sizes[0]) -> (B, num_prototypes)."""

    def __init__(
        self,
        sizes: Sequence[int],
        num_prototypes: int,
        hidden_norm: HiddenNorm,
        prototype_norm: PrototypeNorm,
    ):
        super().__init__()
        self.projector = MLP(sizes, hidden_norm=hidden_norm, activation="gelu", output_bias=True)
        for layer in self.projector.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.prototypes = nn.Parameter(torch.randn(num_prototypes, sizes[-1]))
        learned = prototype_norm == "learned"
        self.lengths = nn.Parameter(torch.ones(num_prototypes, 1)) if learned else None

    def embed(self, x: Tensor) -> Tensor:
        """Normalised bottleneck features: (B, sizes[0]) -> (B, sizes[-1])."""
        z = self.projector(x)
        with full_precision(z):
            return F.normalize(to_float32(z), dim=1)

    def logits(self, embedding: Tensor, frozen: Tensor | None = None) -> Tensor:
        """Similarities with the prototypes; ``frozen``, () bool: whether no gradient reaches them."""
        directions = F.normalize(self.prototypes, dim=1)
        weight = directions if self.lengths is None else directions * self.lengths
        if frozen is not None:
            weight = torch.where(frozen, weight.detach(), weight)
        return F.linear(embedding, weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.embed(x))
