"""Linear layers trained by SGD with momentum, several at once on the same batches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.random import Stream, shuffled


def fit_linear_layers(
    x: Tensor,
    y: Tensor,
    lrs: Sequence[float],
    epochs: int,
    batch_size: int = 256,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Weights (S, D, C) and biases (S, C) of S linear classifiers on the same batches, one per peak lr.

    Cross entropy, mean over the batch; momentum without dampening; cosine to 0 without warm-up; the last
    incomplete batch of an epoch is dropped. Initial weights are torch's: uniform within 1/sqrt(D).

    Args:
        x: (N, D) features.
        y: (N,) int64 classes.
    """
    count, width, classes, layers = len(x), x.shape[1], int(y.max()) + 1, len(lrs)
    bound = 1 / math.sqrt(width)
    streams = [Stream.of(torch.arange(width + 1), seed, "layer", s) for s in range(layers)]
    # The bias is the last row; layers lie side by side, so that one product serves them all.
    layer = torch.cat([s.uniform("weight", classes, -bound, bound) for s in streams], 1)
    velocity = torch.zeros_like(layer)
    peak = torch.tensor(lrs).repeat_interleave(classes)
    batch_size = min(batch_size, count)
    steps = count // batch_size
    x = torch.cat([x, torch.ones(count, 1)], 1)
    targets = F.one_hot(y, classes).to(x.dtype)[:, None]
    for epoch in range(epochs):
        order = shuffled(count, seed, "sgd", epoch)
        for k in range(steps):
            rows = order[k * batch_size : (k + 1) * batch_size]
            probabilities = (x[rows] @ layer).view(batch_size, layers, classes).softmax(2)
            gradient = x[rows].T @ ((probabilities - targets[rows]) / batch_size).view(batch_size, -1)
            velocity.mul_(momentum).add_(gradient.add_(layer, alpha=weight_decay))
            layer -= cosine_decay(epoch * steps + k, epochs * steps) * peak * velocity
    weight, bias = layer[:-1], layer[-1]
    return weight.view(width, layers, classes).transpose(0, 1), bias.view(layers, classes)


def cosine_decay(step: int, total: int) -> float:
    """Multiplier of the lr in step ``step`` (from 0) of ``total``: from 1 towards 0."""
    return (1 + math.cos(math.pi * step / total)) / 2
