"""SIE's probes: networks that see one new image, or pair of images, of every object in each epoch."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.random import Stream, shuffled

Pairs = tuple[Tensor, Tensor]  # rows of the first and of the second images, (P,) int64 each
HIDDEN = (1024, 1024)


def fit_pair_network(
    x: Tensor,
    groups: Tensor,
    targets: Callable[[Tensor, Tensor], Tensor],
    *,
    epochs: int = 300,
    batch_size: int = 256,
    lr: float = 1e-3,
    hidden: tuple[int, ...] = HIDDEN,
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

    def examples(epoch: int) -> tuple[Tensor, Tensor]:
        first, second = random_pairs(groups, seed, epoch)
        return joined(x, first, second), targets(first, second).float()

    outputs = targets(*random_pairs(groups, seed, 0)).shape[1]
    widths = (2 * x.shape[1], *hidden, outputs)
    return _fit(widths, examples, F.mse_loss, epochs, batch_size, lr, seed, "pairs")


def fit_classifier(
    x: Tensor,
    labels: Tensor,
    groups: Tensor,
    *,
    epochs: int = 300,
    batch_size: int = 256,
    lr: float = 1e-3,
    hidden: tuple[int, ...] = (),
    seed: int = 0,
) -> nn.Module:
    """Classification from features as they are: cross entropy, one random image of every group in each epoch.

    Source and optimiser: as of ``fit_pair_network``.

    Args:
        x: (N, D) features.
        labels, groups: (N,) int64.
        hidden: widths of hidden layers; none for a linear classifier.

    Returns:
        A network (N, D) -> (N, C).
    """

    def examples(epoch: int) -> tuple[Tensor, Tensor]:
        rows = random_images(groups, seed, epoch)
        return x[rows], labels[rows]

    widths = (x.shape[1], *hidden, int(labels.max()) + 1)
    return _fit(widths, examples, F.cross_entropy, epochs, batch_size, lr, seed, "images")


def _fit(
    widths: tuple[int, ...],
    examples: Callable[[int], tuple[Tensor, Tensor]],
    criterion: Callable[[Tensor, Tensor], Tensor],
    epochs: int,
    batch_size: int,
    lr: float,
    seed: int,
    name: str,
) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        layers = [nn.Linear(*pair) for pair in pairwise(widths)]
    steps: list[nn.Module] = [m for layer in layers[:-1] for m in (layer, nn.ReLU())]
    network = nn.Sequential(*steps, layers[-1])
    optimizer = torch.optim.Adam(network.parameters(), lr)
    for epoch in range(epochs):
        x, y = examples(epoch)
        for rows in torch.split(shuffled(len(x), seed, name, epoch), batch_size):
            optimizer.zero_grad()
            criterion(network(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return network.requires_grad_(False)


def joined(x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Features of both images side by side: (N, D) -> (P, 2 D)."""
    return torch.cat([x[first], x[second]], 1)


def random_pairs(groups: Tensor, seed: int, epoch: int) -> Pairs:
    """Two random different images of every group that has two, and which they are depends on the epoch."""
    order, starts, counts = _random_order(groups, seed, epoch)
    several = starts[counts > 1]
    return order[several], order[several + 1]


def random_images(groups: Tensor, seed: int, epoch: int) -> Tensor:
    """The row of a random image of every group, (G,) int64; which it is depends on the epoch."""
    order, starts, _ = _random_order(groups, seed, epoch)
    return order[starts]


def _random_order(groups: Tensor, seed: int, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (N,) by group, shuffled within each; where each group starts and how many it has, (G,)."""
    order = Stream.of(torch.arange(len(groups)), seed, "pair of an object", epoch).keys.argsort()
    order = order[groups[order].argsort(stable=True)]
    _, counts = torch.unique_consecutive(groups[order], return_counts=True)
    return order, counts.cumsum(0) - counts, counts
