"""Projection and prediction heads: MLPs with the norm placements in which the papers differ."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

OutputNorm = Literal["none", "fixed", "affine"]
HiddenNorm = Literal["batch", "none"]
HeadNorm = Literal["all_views", "per_view"]


class MLP(nn.Module):
    """MLP with BatchNorm, (B, sizes[0]) -> (B, sizes[-1]): Linear - BatchNorm - ReLU blocks, then Linear.

    Hidden linear layers have a bias only where no BatchNorm follows.

    Args:
        sizes: input, hidden and output widths; two numbers are a single linear layer.
        output_norm: BatchNorm after the last layer: none, without (fixed) or with (affine) weights.
        output_bias: whether the last linear layer has a bias; by default where no norm follows.
        hidden_norm: "none" for blocks without BatchNorm (MoCo v2, DINO).
        activation: after each hidden layer; DINO's is "gelu".
    """

    def __init__(
        self,
        sizes: Sequence[int],
        output_norm: OutputNorm = "none",
        output_bias: bool | None = None,
        hidden_norm: HiddenNorm = "batch",
        activation: Literal["relu", "gelu"] = "relu",
    ):
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes[:-1]):
            layers.append(nn.Linear(a, b, bias=hidden_norm == "none"))
            layers += [nn.BatchNorm1d(b)] if hidden_norm == "batch" else []
            layers.append(nn.ReLU(inplace=True) if activation == "relu" else nn.GELU())
        bias = output_norm == "none" if output_bias is None else output_bias
        layers.append(nn.Linear(sizes[-2], sizes[-1], bias=bias))
        if output_norm != "none":
            layers.append(nn.BatchNorm1d(sizes[-1], affine=output_norm == "affine"))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


class LayerNormMLP(nn.Module):
    """MLP with LayerNorm, (B, sizes[0]) -> (B, sizes[-1]): Linear - LayerNorm - ReLU blocks, then Linear.

    An image's output does not depend on the rest of the batch. All linear layers have a bias.

    Args:
        sizes: input, hidden and output widths; two numbers are a single linear layer.
        last_relu: whether the last hidden layer has its ReLU too (E-SSL's heads differ in this).
    """

    def __init__(self, sizes: Sequence[int], last_relu: bool = True):
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes[:-1]):
            layers += [nn.Linear(a, b), nn.LayerNorm(b), nn.ReLU(inplace=True)]
        if layers and not last_relu:
            layers.pop()
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


def apply_head(
    head: Callable[[Tensor], Tensor], views: Sequence[Tensor], batch_norm: HeadNorm
) -> tuple[Tensor, ...]:
    """Outputs of a head for several views; BatchNorm statistics are of all views or of each view."""
    return joint_batch_norm(head, views) if batch_norm == "all_views" else tuple(head(v) for v in views)


def joint_batch_norm(head: Callable[[Tensor], Tensor], views: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """One call of a head on several views, so that BatchNorm statistics are of all of them."""
    return torch.split(head(torch.cat(list(views))), [len(v) for v in views])
