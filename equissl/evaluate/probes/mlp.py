"""A small multilayer perceptron as a probe, for factors that no linear map can read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from equissl.evaluate.metrics import r2
from equissl.evaluate.probes.base import ProbeResult, validation_split
from equissl.evaluate.probes.scaler import StandardScaler

MAX_EPOCHS = 200
_MIN_VARIANCE = 1e-3  # of the largest variance: what varies less is not blown up further
_ALPHA = 1.0  # scikit-learn's alpha, the sum of squares' weight for a whole batch


def mlp(
    x: Tensor,
    y: Tensor,
    groups: Tensor,
    x_test: Tensor,
    seed: int = 0,
    patience: int = 10,
    hidden: tuple[int, ...] = (512,),
) -> ProbeResult:
    """scikit-learn's MLP on whitened features with early stopping on held-out groups.

    Whitened, because features are far from independent, and along directions of little variance, where a
    small change of the image often shows, a network of standardised columns learns too slowly.

    Args:
        x: (N, D) training features.
        y: (N, c) numbers to regress or (N,) int64 classes to recognise.
        groups: (N,) of the training images.
        x_test: (M, D) test features; predictions are (M, c) or (M,).
        patience: epochs without gain before it stops, of 200 at most.
        hidden: widths of its layers.
    """
    fit, held_out = validation_split(groups, seed)
    network = _Network(x[fit], y[fit], torch.unique(y) if y.dim() == 1 else None, hidden, seed)
    # The baseline to beat: the mean of the targets, whose R2 is 0, or any classes at all.
    best, waited, predictions = -torch.inf, 0, torch.empty(0)
    if network.regress:
        best, predictions = 0.0, y[fit].mean(0).expand(len(x_test), -1)
    for _ in range(MAX_EPOCHS):
        network.train_one_epoch()
        quality, waited = network.quality(x[held_out], y[held_out]), waited + 1
        if quality > best + 1e-3:
            best, waited, predictions = quality, 0, network.predict(x_test)
        if waited == patience:
            break
    return ProbeResult(predictions)


class _Network:
    """The network with its whitening and the scale of its targets.

    Args:
        classes: all that may occur, int64; None for regression.
    """

    def __init__(self, x: Tensor, y: Tensor, classes: Tensor | None, hidden: tuple[int, ...], seed: int):
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        self.regress = classes is None
        self.whiten = _whitener(x)
        self.scaler = StandardScaler.fit(y) if self.regress else None
        self.inputs = self.whiten(x).numpy()
        self.targets = (self.scaler.transform(y).squeeze(1) if self.scaler else y).numpy()
        self.known = {} if classes is None else {"classes": classes.numpy()}
        self.model: Any = (MLPRegressor if self.regress else MLPClassifier)(
            hidden_layer_sizes=hidden,
            batch_size=min(len(x), 32 if len(x) < 2000 else 256),
            alpha=_ALPHA,
            random_state=seed,
        )

    def train_one_epoch(self) -> None:
        self.model.partial_fit(self.inputs, self.targets, **self.known)

    def predict(self, x: Tensor) -> Tensor:
        predictions = torch.from_numpy(self.model.predict(self.whiten(x).numpy()))
        return self.scaler.inverse_transform(predictions.reshape(len(x), -1)) if self.scaler else predictions

    def quality(self, x: Tensor, y: Tensor) -> float:
        if self.regress:
            return r2(self.predict(x), y)
        # Likelihood, because accuracy stands still while the network still learns.
        probabilities = torch.from_numpy(self.model.predict_proba(self.whiten(x).numpy()))
        column = torch.searchsorted(torch.from_numpy(self.model.classes_), y)
        return float(probabilities.gather(1, column[:, None]).clamp(min=1e-9).log().mean())


def _whitener(x: Tensor) -> Callable[[Tensor], Tensor]:
    """A map of features (N, d) to uncorrelated columns of variance 1, less where ``x`` hardly varies."""
    scaler = StandardScaler.fit(x)
    z = scaler.transform(x).double()
    variances, axes = torch.linalg.eigh(z.T @ z / len(z))
    least = max(_MIN_VARIANCE * float(variances.max()), 1e-12)  # not 0 where nothing varies at all
    rotation = (axes / variances.clamp(min=least).sqrt()).to(x.dtype)
    return lambda rows: scaler.transform(rows) @ rotation
