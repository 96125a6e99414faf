"""A small network as a probe, for factors that no plane can read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from equissl.evaluate.metrics import r2
from equissl.evaluate.probes.linear import ProbeResult, Scaler, choosing

_FLOOR = 1e-3  # of the largest variance: what varies less is not blown up further
_DECAY = 1.0  # scikit-learn's alpha, the sum of squares' weight for a whole batch


def network(
    x: Tensor,
    y: Tensor,
    groups: Tensor,
    test: Tensor,
    seed: int = 0,
    patience: int = 10,
    hidden: tuple[int, ...] = (512,),
) -> ProbeResult:
    """A network, stopped when held-out groups are read no better.

    Its inputs are whitened: features are far from independent, and along directions of little variance,
    where a small change of the image often shows, a network of standardised columns learns too slowly.

    Args:
        y: (N, c) numbers to regress or (N,) int64 classes to recognise.
        patience: passes over the data without gain before it stops, 200 at most in all.
        hidden: widths of its layers.
    """
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    fit, held = choosing(groups, seed)
    whiten, regress = _whitener(x[fit]), y.dim() == 2
    target = Scaler.of(y[fit]) if regress else None
    goal = (target(y[fit]).squeeze(1) if target else y[fit]).numpy()
    model: Any = (MLPRegressor if regress else MLPClassifier)(
        hidden_layer_sizes=hidden,
        batch_size=32 if len(fit) < 2000 else 256,
        alpha=_DECAY,
        random_state=seed,
    )
    known = {} if regress else {"classes": torch.unique(y).numpy()}

    def read(rows: Tensor) -> Tensor:
        said = torch.from_numpy(model.predict(whiten(rows).numpy()))
        return target.undo(said.reshape(len(rows), -1)) if target else said

    def quality() -> float:
        if regress:
            return r2(read(x[held]), y[held])
        # Likelihood, because the share recognised stands still while the network still learns.
        likely = torch.from_numpy(model.predict_proba(whiten(x[held]).numpy()))
        place = torch.searchsorted(torch.from_numpy(model.classes_), y[held])
        return float(likely.gather(1, place[:, None]).clamp(min=1e-9).log().mean())

    # What it must beat: the mean of the targets, whose R2 is 0, or any classes at all.
    best, waited, answer = -torch.inf, 0, torch.empty(0)
    if regress:
        best, answer = 0.0, y[fit].mean(0).expand(len(test), -1)
    z = whiten(x[fit]).numpy()
    for _ in range(200):
        model.partial_fit(z, goal, **known)
        found, waited = quality(), waited + 1
        if found > best + 1e-3:
            best, waited, answer = found, 0, read(test)
        if waited == patience:
            break
    return ProbeResult(answer)


def _whitener(x: Tensor) -> Callable[[Tensor], Tensor]:
    """Features (N, d) -> uncorrelated columns of variance 1, less where it hardly varies; learnt from x."""
    scaler = Scaler.of(x)
    z = scaler(x).double()
    variances, axes = torch.linalg.eigh(z.T @ z / len(z))
    least = max(_FLOOR * float(variances.max()), 1e-12)  # not 0 where nothing varies at all
    turn = (axes / variances.clamp(min=least).sqrt()).to(x.dtype)
    return lambda rows: scaler(rows) @ turn
