"""A head that compares features with learned prototypes, as DINO, iBOT and DINOv2 have it."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.losses.precision import full_precision, to_float32
from equissl.nn.heads import MLP, HiddenNorm

PrototypeNorm = Literal["fixed", "learned"]


class PrototypeConfig(Protocol):
    """What a head needs to know; a base's ``Config`` has it."""

    @property
    def projector(self) -> tuple[int, ...]: ...
    @property
    def hidden_norm(self) -> HiddenNorm: ...
    @property
    def prototypes(self) -> int: ...
    @property
    def prototype_norm(self) -> PrototypeNorm: ...


class PrototypeHead(nn.Module):
    """A bottleneck on the unit sphere and the cosine with each prototype: (B, width) -> (B, prototypes)."""

    def __init__(self, width: int, config: PrototypeConfig):
        super().__init__()
        sizes = (width, *config.projector)
        self.projector = MLP(sizes, hidden_norm=config.hidden_norm, activation="gelu", output_bias=True)
        for layer in self.projector.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.prototypes = nn.Parameter(torch.randn(config.prototypes, config.projector[-1]))
        learned = config.prototype_norm == "learned"
        self.lengths = nn.Parameter(torch.ones(config.prototypes, 1)) if learned else None

    def embed(self, x: Tensor) -> Tensor:
        z = self.projector(x)
        with full_precision(z):
            return F.normalize(to_float32(z), dim=1)

    def assign(self, embedding: Tensor, frozen: Tensor | None = None) -> Tensor:
        """``frozen``: () bool, whether no gradient reaches the prototypes."""
        directions = F.normalize(self.prototypes, dim=1)
        weight = directions if self.lengths is None else directions * self.lengths
        if frozen is not None:
            weight = torch.where(frozen, weight.detach(), weight)
        return F.linear(embedding, weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.assign(self.embed(x))
