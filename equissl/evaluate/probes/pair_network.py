"""SIE's probe of pairs: a network of two hidden layers that sees a new pair of every object in each epoch."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.random import Stream, shuffled

Pairs = tuple[Tensor, Tensor]  # rows of the first and of the second images, (P,) int64 each


def fit_pair_network(
    x: Tensor,
    groups: Tensor,
    targets: Callable[[Tensor, Tensor], Tensor],
    *,
    epochs: int = 300,
    batch_size: int = 256,
    lr: float = 1e-3,
    hidden: tuple[int, ...] = (1024, 1024),
    seed: int = 0,
) -> nn.Module:
    """Regression of what differs between two images of a group, from both features as they are.

    Source: SIE's released code (arXiv:2302.10283): mean squared error, Adam with constant lr, ReLU, no
    normalisation of the features; one random pair of every object in each epoch.

    Args:
        x: (N, D) features.
        groups: (N,) int64; at least one has two images.
        targets: first and second rows (P,) -> (P, c).

    Returns:
        A network (P, 2 D) -> (P, c).
    """
    outputs = targets(*random_pairs(groups, seed, 0)).shape[1]
    widths = (2 * x.shape[1], *hidden, outputs)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        layers = [nn.Linear(*pair) for pair in pairwise(widths)]
    steps: list[nn.Module] = [m for layer in layers[:-1] for m in (layer, nn.ReLU())]
    network = nn.Sequential(*steps, layers[-1])
    optimizer = torch.optim.Adam(network.parameters(), lr)
    for epoch in range(epochs):
        first, second = random_pairs(groups, seed, epoch)
        y = targets(first, second).float()
        for rows in torch.split(shuffled(len(first), seed, "pairs", epoch), batch_size):
            optimizer.zero_grad()
            F.mse_loss(network(joined(x, first[rows], second[rows])), y[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return network.requires_grad_(False)


def joined(x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Features of both images side by side: (N, D) -> (P, 2 D)."""
    return torch.cat([x[first], x[second]], 1)


def random_pairs(groups: Tensor, seed: int, epoch: int) -> Pairs:
    """Two random different images of every group that has two, and which they are depends on the epoch."""
    order = Stream.of(torch.arange(len(groups)), seed, "pair of an object", epoch).keys.argsort()
    order = order[groups[order].argsort(stable=True)]
    _, counts = torch.unique_consecutive(groups[order], return_counts=True)
    starts = (counts.cumsum(0) - counts)[counts > 1]
    return order[starts], order[starts + 1]
