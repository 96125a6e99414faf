"""What the probes read of an augmentation's parameters from the features of one encoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.evaluate.audit.interval import Resampled, resampled_accuracy, resampled_r2
from equissl.evaluate.base import FeatureTable
from equissl.evaluate.factors.scoring import factor_targets, varies
from equissl.evaluate.probes.cross_fit import CrossFit, cross_fit, fold_numbers
from equissl.evaluate.probes.pair_kernels import PRECISION, PairFeatures, pair_kernels
from equissl.params import Factor, Space, between
from equissl.random import shuffled

FOLDS = 5


@dataclass(frozen=True)
class Readout:
    """One factor as it is read from pairs of images.

    Args:
        score: R2 of numbers, balanced accuracy of classes.
        shuffled: the same of targets that belong to other images.
        probes: probe -> its own score by leave-one-group-out, the best penalty each.
        chosen: the probe that most folds chose.
        amplitude: how far features move, in units of the distance between two different images.
        live, width: columns that vary, and all.
        predictions: (N, c) or (N,) classes of the first repeat.
    """

    factor: Factor
    score: Resampled
    shuffled: Resampled
    probes: Mapping[str, float]
    chosen: str
    amplitude: float
    live: int
    width: int
    predictions: Tensor = field(repr=False)
    targets: Tensor = field(repr=False)

    @property
    def chance(self) -> float:
        """The score of a constant."""
        return 0.0 if self.score.regress else 1 / len(torch.unique(self.targets))


def read_factors(
    plain: FeatureTable,
    changed: Sequence[FeatureTable],
    names: Sequence[str],
    weights: Tensor,
    precision: float = PRECISION,
    seed: int = 0,
) -> Iterator[Readout]:
    """Reads each factor that varies in all repeats.

    Args:
        plain: features of the plain images.
        changed: of the changed images, one table per draw; each is fitted on folds of its own.
        names: factors of ``changed``.
        weights: (N, R), of ``resample_weights``.
        precision: deviation of the noise that is added, in units of each column's between images.
        seed: of the noise, the folds and the shuffled targets.
    """
    space = changed[0].params.space.select(tuple(names))
    targets = {f.name: [_change(f, plain, view) for view in changed] for f in space}
    factors = [f for f in space if all(varies(t) for t in targets[f.name])]
    if not factors:
        return
    pairs = [
        PairFeatures.of(plain.vectors, view.vectors, precision, seed, k) for k, view in enumerate(changed)
    ]
    fits: list[list[CrossFit]] = []
    for k, pair in enumerate(pairs):
        kernels, columns = pair_kernels(pair)
        numbers = [_numbers(targets[f.name][k]) for f in factors]
        order = derangement(len(plain), seed, k)
        folds = fold_numbers(plain.groups, FOLDS, seed, k)
        fits.append(
            cross_fit(kernels, columns, [*numbers, *(y[order] for y in numbers)], plain.groups, folds)
        )
    for j, factor in enumerate(factors):
        y = [_numbers(t) for t in targets[factor.name]]
        resampled = resampled_accuracy if factor.discrete else resampled_r2
        own, control = ([fit[i] for fit in fits] for i in (j, len(factors) + j))
        orders = [derangement(len(plain), seed, k) for k in range(len(changed))]
        predictions = own[0].predictions()
        total = sum(float((t - t.mean(0)).square().sum()) for t in y)
        names_ = own[0].inner
        yield Readout(
            factor,
            resampled(own, y, weights),
            resampled(control, [t[o] for t, o in zip(y, orders, strict=True)], weights),
            {n: 1 - sum(f.inner[n] for f in own) / (FOLDS - 1) / total for n in names_},
            Counter(fold.probe for fit in own for fold in fit.folds).most_common(1)[0][0],
            sum(p.amplitude for p in pairs) / len(pairs),
            min(p.live for p in pairs),
            pairs[0].width,
            predictions.argmax(1) if factor.discrete else predictions,
            targets[factor.name][0],
        )


def derangement(count: int, *seed: int) -> Tensor:
    """A random order of the images, int64 (N,), in which no image keeps its place."""
    order = shuffled(count, *seed, "control")
    result = torch.empty_like(order)
    result[order] = order.roll(1)
    return result


def _numbers(targets: Tensor) -> Tensor:
    return targets.double() if targets.is_floating_point() else F.one_hot(targets).double()


def _change(factor: Factor, plain: FeatureTable, view: FeatureTable) -> Tensor:
    change = between(plain.params, view.params, Space((factor,)))
    return factor_targets(factor.relative(), change)
