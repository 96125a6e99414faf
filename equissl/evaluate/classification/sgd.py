"""Can a plane tell the classes apart, by the papers' protocol: a linear layer trained by gradient descent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.evaluate.base import Evaluation, Score, Table, estimate
from equissl.evaluate.classification.linear import labelled, without_classes
from equissl.evaluate.probes.linear import Scaler, best, choosing
from equissl.evaluate.titles import ACCURACY
from equissl.random import Stream, shuffled


@dataclass(frozen=True)
class SGDProbe(Evaluation):
    """Top-1 accuracy of a linear layer trained by SGD on frozen features, for every part of them.

    All learning rates train at once on four fifths of the training groups, the best on the others is taken,
    and ``inits`` layers are trained with it on all of them; the score is their mean. ``lrs=30`` alone is
    E-SSL's protocol (arXiv:2111.00899, released code: lr 30, momentum 0.9, 100 epochs of batches of 256,
    a cosine to 0, 5 initialisations), except that features are of images without augmentation.

    Args:
        lrs: learning rates to choose from.
        inits: layers, each with its own initial weights.
        standardise: columns of mean 0 and standard deviation 1; E-SSL leaves them as they are.
        seed: of weights, order and the split that chooses the learning rate.
    """

    paper: ClassVar[str] = "arXiv:2111.00899"
    name: ClassVar[str] = "sgdprobe"
    scores: ClassVar[tuple[str, ...]] = ("linear_sgd",)
    needs_labels: ClassVar[bool] = True
    lrs: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    inits: int = 5
    epochs: int = 100
    batch_size: int = 256
    momentum: float = 0.9
    weight_decay: float = 0.0
    standardise: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.lrs or not all(r > 0 for r in self.lrs):
            raise ValueError(f"lrs must be numbers above 0, got {self.lrs}")
        for name in ("inits", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @classmethod
    def example(cls) -> SGDProbe:
        return cls(lrs=(1.0, 30.0), inits=2, epochs=30)

    def missing(self, train: Table, test: Table) -> str:
        return without_classes(train, test)

    def run(self, train: Table, test: Table) -> Iterator[Score]:
        if self.missing(train, test):
            return
        train, test = labelled(train), labelled(test)
        unseen = test.features()
        for part, x in train.features().items():
            lr = self._best_lr(x, train)
            said = self._fit(x, train.labels, unseen[part], [lr] * self.inits)
            correct = (said == test.labels).double()
            result = estimate(lambda rows, c=correct: float(c[:, rows].mean()), test.groups, seed=self.seed)  # type: ignore[misc]
            extra = {
                "lr": lr,
                "repeats": self.inits,
                "deviation": float(correct.mean(1).std(correction=0)),
                "epochs": self.epochs,
            }
            yield Score(
                "linear_sgd/top1",
                **asdict(result),
                unit="share",
                count=len(test),
                part=part,
                seed=self.seed,
                extra=extra,
                title="Linear accuracy by SGD, top-1",
                group=ACCURACY,
                higher_is_better=True,
            )

    def _best_lr(self, x: Tensor, train: Table) -> float:
        if len(self.lrs) == 1:
            return self.lrs[0]
        fit, held = choosing(train.groups, self.seed)
        said = self._fit(x[fit], train.labels[fit], x[held], self.lrs)
        return self.lrs[best((said == train.labels[held]).double().mean(1).tolist())]

    def _fit(self, x: Tensor, y: Tensor, test: Tensor, lrs: Sequence[float]) -> Tensor:
        """Classes (S, M) that S layers say."""
        scaler = Scaler.of(x) if self.standardise else None
        z, unseen = (scaler(t) if scaler else t for t in (x, test))
        weight, bias = train_layers(
            z, y, lrs, self.epochs, self.batch_size, self.momentum, self.weight_decay, self.seed
        )
        return (unseen @ weight + bias[:, None]).argmax(2)


def train_layers(
    x: Tensor,
    y: Tensor,
    lrs: Sequence[float],
    epochs: int,
    batch_size: int,
    momentum: float,
    weight_decay: float,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """S linear layers on the same batches, one per lr: features (N, D), classes (N,) -> (S, D, C), (S, C).

    Cross entropy, mean over the batch; momentum without dampening; what does not fill a batch is left out
    of an epoch. Initial weights are torch's: uniform within 1/sqrt(D).
    """
    count, width, classes, layers = len(x), x.shape[1], int(y.max()) + 1, len(lrs)
    bound = 1 / math.sqrt(width)
    streams = [Stream.of(torch.arange(width + 1), seed, "layer", s) for s in range(layers)]
    start = [s.uniform("weight", classes, -bound, bound) for s in streams]
    # The bias is the last row; layers lie side by side, so that one product serves them all.
    layer = torch.cat(start, 1)
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
            said = (x[rows] @ layer).view(batch_size, layers, classes).softmax(2)
            slope = x[rows].T @ ((said - targets[rows]) / batch_size).view(batch_size, -1)
            velocity.mul_(momentum).add_(slope.add_(layer, alpha=weight_decay))
            layer -= cosine(epoch * steps + k, epochs * steps) * peak * velocity
    weight, bias = layer[:-1], layer[-1]
    return weight.view(width, layers, classes).transpose(0, 1), bias.view(layers, classes)


def cosine(step: int, total: int) -> float:
    """Factor of the learning rate in step ``step`` (from 0), from 1 towards 0."""
    return (1 + math.cos(math.pi * step / total)) / 2
