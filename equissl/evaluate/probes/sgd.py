"""Linear layers trained by SGD with momentum, several at once on the same batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.random import Stream, shuffled

UpdateEvery = Literal["step", "epoch"]


class LinearLayers:
    """S linear classifiers that see the same batches, one per peak lr, trained by SGD as torch's.

    The cross entropy is the mean over the batch.

    Args:
        width: D, of the features.
        momentum: without dampening.
        nesterov: Nesterov's momentum.
        min_lr: that the lr falls to.
        weight_std: initial weights are normal with this deviation and biases 0; with 0 both are torch's,
            uniform within 1/sqrt(D).
        trust_coefficient: LARS, as apex's LARC without clipping has it: the gradient of a layer's weight, and
            of its bias, is multiplied by trust_coefficient |w| / (|g| + weight_decay |w|) where neither norm
            is 0; 0 for plain SGD.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        lrs: Sequence[float],
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        min_lr: float = 0.0,
        seed: int = 0,
        weight_std: float = 0.0,
        trust_coefficient: float = 0.0,
    ):
        self.width, self.classes, self.num_layers = width, classes, len(lrs)
        self.momentum, self.weight_decay = momentum, weight_decay
        self.nesterov, self.min_lr = nesterov, min_lr
        self.trust_coefficient = trust_coefficient
        bound = 1 / math.sqrt(width)
        streams = [Stream.of(torch.arange(width + 1), seed, "layer", s) for s in range(len(lrs))]
        # The bias is the last row; layers lie side by side, so that one product serves them all.
        if weight_std:
            self._layer = torch.cat([s.normal("weight", classes) for s in streams], 1) * weight_std
            self._layer[-1] = 0
        else:
            self._layer = torch.cat([s.uniform("weight", classes, -bound, bound) for s in streams], 1)
        self._velocity = torch.zeros_like(self._layer)
        self._peak = torch.tensor(lrs).repeat_interleave(classes)

    def step(self, x: Tensor, y: Tensor, decay: float) -> None:
        """One step on features (B, D) of classes (B,) int64.

        Args:
            decay: where the lr is between ``min_lr`` (0) and its peak (1).
        """
        x = torch.cat([x, torch.ones(len(x), 1)], 1)
        targets = F.one_hot(y, self.classes).to(x.dtype)[:, None]
        probabilities = (x @ self._layer).view(len(x), self.num_layers, self.classes).softmax(2)
        gradient = x.T @ ((probabilities - targets) / len(x)).view(len(x), -1)
        ratios = self._trust_ratios(gradient) if self.trust_coefficient else 1.0
        gradient.add_(self._layer, alpha=self.weight_decay).mul_(ratios)
        self._velocity.mul_(self.momentum).add_(gradient)
        update = gradient.add(self._velocity, alpha=self.momentum) if self.nesterov else self._velocity
        self._layer -= (self.min_lr + decay * (self._peak - self.min_lr)) * update

    def _trust_ratios(self, gradient: Tensor) -> Tensor:
        """(D + 1, S C), one value for the weight and one for the bias of each layer."""

        def norms(x: Tensor) -> Tensor:
            x = x.view(self.width + 1, self.num_layers, self.classes)
            weight, bias = x[:-1].norm(dim=(0, 2)), x[-1].norm(dim=1)
            return torch.stack([weight, bias]).repeat_interleave(self.classes, 1)

        size, slope = norms(self._layer), norms(gradient)
        ratios = self.trust_coefficient * size / (slope + self.weight_decay * size)
        ratios = torch.where((size > 0) & (slope > 0), ratios, 1.0)
        return ratios.repeat_interleave(torch.tensor([self.width, 1]), 0)

    @property
    def weight(self) -> Tensor:
        """(S, D, C)."""
        return self._layer[:-1].view(self.width, self.num_layers, self.classes).transpose(0, 1)

    @property
    def bias(self) -> Tensor:
        """(S, C)."""
        return self._layer[-1].view(self.num_layers, self.classes)

    def logits(self, x: Tensor) -> Tensor:
        """(M, D) -> (S, M, C)."""
        return x @ self.weight + self.bias[:, None]


def fit_linear_layers(
    x: Tensor,
    y: Tensor,
    lrs: Sequence[float],
    epochs: int,
    batch_size: int = 256,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    seed: int = 0,
) -> LinearLayers:
    """S linear classifiers trained on the same batches of features (N, D) and classes (N,), one per peak lr.

    The lr falls to 0 by a cosine without warm-up.
    """
    layers = LinearLayers(x.shape[1], int(y.max()) + 1, lrs, momentum, weight_decay, seed=seed)
    for rows, _, decay in epochs_of_batches(len(x), epochs, batch_size, seed):
        layers.step(x[rows], y[rows], decay)
    return layers


def epochs_of_batches(
    count: int, epochs: int, batch_size: int, seed: int, update_every: UpdateEvery = "step"
) -> Iterator[tuple[Tensor, int, float]]:
    """Rows (B,) int64, epoch and cosine multiplier of every step; incomplete batches are dropped.

    Args:
        update_every: "step", or "epoch" to keep the multiplier through an epoch.
    """
    batch_size = min(batch_size, count)
    steps = count // batch_size
    for epoch in range(epochs):
        order = shuffled(count, seed, "sgd", epoch)
        for k in range(steps):
            rows = order[k * batch_size : (k + 1) * batch_size]
            step = epoch * steps + (k if update_every == "step" else 0)
            yield rows, epoch, cosine_decay(step, epochs * steps)


def cosine_decay(step: int, total: int) -> float:
    """Multiplier of the lr in step ``step`` (from 0) of ``total``: from 1 towards 0."""
    return (1 + math.cos(math.pi * step / total)) / 2
