"""The linear probe of many papers: accuracy of linear layers trained by SGD on frozen features."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.config.validation import check_bounds
from equissl.errors import NonFiniteError
from equissl.evaluate.base import Evaluation, FeatureTable, Score
from equissl.evaluate.classification.labels import accuracy_scores, labelled, no_classes_reason
from equissl.evaluate.probes.base import argbest, validation_split
from equissl.evaluate.probes.scaler import StandardScaler
from equissl.evaluate.probes.sgd import fit_linear_layers


@dataclass(frozen=True)
class SGDProbe(Evaluation):
    """Top-1 accuracy of a linear layer trained by SGD on frozen features, for every part of them.

    All lrs train at once on four fifths of the training groups, the best on the others is taken, and
    ``inits`` layers are trained with it on all of them; the score is their mean. Optimiser, schedule and
    number of layers are E-SSL's (arXiv:2111.00899, released code), but features are of images without
    augmentation: ``AugmentedProbe`` is its protocol. Several
    lrs are those of features whose size is about 1: others are divided by a power of ten first, so that
    the score does not depend on their scale. A single lr takes features as they are, as papers do.

    Args:
        lrs: peak learning rates to choose from.
        inits: layers, each with its own initial weights.
        standardize: columns of mean 0 and standard deviation 1; E-SSL leaves them as they are.
        seed: of weights, order and the split that chooses the lr.
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
    standardize: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.lrs or not all(lr > 0 for lr in self.lrs):
            raise ValueError(f"lrs must be numbers above 0, got {self.lrs}")
        check_bounds(self, "inits", "epochs", "batch_size", low=1)
        check_bounds(self, "momentum", low=0, below=1)
        check_bounds(self, "weight_decay", low=0)

    @classmethod
    def example(cls) -> SGDProbe:
        return cls(lrs=(1.0, 30.0), inits=2, epochs=30)

    def unavailable_reason(self, train: FeatureTable, test: FeatureTable) -> str:
        return no_classes_reason(train, test)

    def run(self, train: FeatureTable, test: FeatureTable) -> Iterator[Score]:
        if self.unavailable_reason(train, test):
            return
        train, test = labelled(train), labelled(test)
        test_parts = test.by_part()
        for part, x in train.by_part().items():
            scale = 1.0 if len(self.lrs) == 1 else decimal_scale(x)
            lr = self._best_lr(x / scale, train)
            predictions = self._predict(x / scale, train.labels, test_parts[part] / scale, [lr] * self.inits)
            if bool((predictions < 0).any()):
                raise NonFiniteError(f"sgdprobe: training diverged at lr={lr:g}; lower sgdprobe.lrs")
            correct = (predictions == test.labels).double()
            extra = {
                "lr": lr,
                "repeats": self.inits,
                "std": float(correct.mean(1).std(correction=0)),
                "epochs": self.epochs,
                "scale": scale,
            }
            title, shown = "Linear accuracy by SGD, top-1", (test.labels, test.groups)
            yield from accuracy_scores(
                "linear_sgd/top1", predictions, *shown, title, seed=self.seed, part=part, extra=extra
            )

    def _best_lr(self, x: Tensor, train: FeatureTable) -> float:
        if len(self.lrs) == 1:
            return self.lrs[0]
        fit, held_out = validation_split(train.groups, self.seed)
        predictions = self._predict(x[fit], train.labels[fit], x[held_out], self.lrs)
        return self.lrs[argbest((predictions == train.labels[held_out]).double().mean(1).tolist())]

    def _predict(self, x: Tensor, y: Tensor, x_test: Tensor, lrs: Sequence[float]) -> Tensor:
        """Classes (S, M) predicted by S layers."""
        if self.standardize:
            scaler = StandardScaler.fit(x)
            x, x_test = scaler.transform(x), scaler.transform(x_test)
        layers = fit_linear_layers(
            x, y, lrs, self.epochs, self.batch_size, self.momentum, self.weight_decay, self.seed
        )
        logits = layers.logits(x_test)
        # Of lrs that diverged: no class, so that they are not chosen for the class that NaN would give.
        return torch.where(logits.isfinite().all(2), logits.argmax(2), -1)


def decimal_scale(x: Tensor) -> float:
    """The power of ten nearest to the root mean square of features (N, D); 1 where all are 0.

    >>> decimal_scale(torch.tensor([[0.0008, -0.0012]]))
    0.001
    """
    size = float(x.double().square().mean().sqrt())
    return 10.0 ** round(math.log10(size)) if size > 0 else 1.0
