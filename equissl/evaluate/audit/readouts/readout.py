"""What the probes read of factors from the features of one encoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.evaluate.audit.readouts.interval import Resampled, fit_score, resampled
from equissl.evaluate.base import FeatureTable
from equissl.evaluate.factors.scoring import factor_targets, varies
from equissl.evaluate.probes.cross_fit import LEAST_FOLDS, cross_fit, fold_numbers
from equissl.evaluate.probes.fold_fit import CrossFit
from equissl.evaluate.probes.pair_kernels import (
    PRECISION,
    PairFeatures,
    image_kernels,
    joint_kernels,
    pair_kernels,
)
from equissl.params import Factor, Params, Space, between
from equissl.random import shuffled

FOLDS = 5
CURVE = (4, 2)  # parts of the images at which the learning curve is read
Kernels = Callable[[PairFeatures], tuple[dict[str, Tensor], Tensor]]


@dataclass(frozen=True)
class Readout:
    """One factor as it is read from pairs of images, or one that is recorded from single images.

    Args:
        score: R2 of numbers, balanced accuracy of classes.
        shuffled: the same of targets that belong to other images; None if nobody asked.
        probes: probe -> its own score by leave-one-group-out, the best penalty each.
        chosen: the probe that most folds chose.
        amplitude: how far features move, in units of the distance between two different images; None of a
            factor that is recorded, as nothing moves.
        live, width: columns that vary, and all.
        predictions: (N, c) or (N,) classes of the first repeat.
        targets: of the first repeat.
    """

    factor: Factor
    score: Resampled
    shuffled: Resampled | None
    probes: Mapping[str, float]
    chosen: str
    amplitude: float | None
    live: int
    width: int
    predictions: Tensor = field(repr=False)
    targets: Tensor = field(repr=False)
    recorded: bool = False

    @property
    def read(self) -> Factor:
        """The factor that predictions and targets are values of: the change, unless it is recorded."""
        return self.factor if self.recorded else self.factor.relative()

    @property
    def chance(self) -> float:
        """The score of a constant."""
        return 0.0 if self.score.regress else 1 / len(torch.unique(self.targets))


@dataclass(frozen=True)
class Views:
    """Features of the plain and of the changed images, and the factors that vary in all repeats.

    Args:
        plain: features of the plain images.
        changed: of the changed images, one table per draw; each is fitted on folds of its own.
        factors: their relative targets are (N, c) numbers or (N,) classes of each repeat.
        precision: deviation of the noise that is added, in units of each column's between images.
        seed: of the noise, the folds and the shuffled targets.
        recorded: the factors are those that the dataset records, read from single images.
    """

    plain: FeatureTable
    changed: Sequence[FeatureTable]
    factors: Sequence[Factor]
    targets: Mapping[str, Sequence[Tensor]]
    precision: float = PRECISION
    seed: int = 0
    recorded: bool = False

    @property
    def kernels(self) -> Kernels:
        """What the probes see of the features."""
        return image_kernels if self.recorded else pair_kernels

    @staticmethod
    def of(
        plain: FeatureTable,
        changed: Sequence[FeatureTable],
        names: Sequence[str],
        precision: float = PRECISION,
        seed: int = 0,
    ) -> Views:
        """Views of which the factors ``names`` are asked, as far as they vary."""
        space = changed[0].params.space.select(tuple(names))
        targets = {f.name: [_change(f, plain, view) for view in changed] for f in space}
        factors = [f for f in space if all(varies(t) for t in targets[f.name])]
        return Views(plain, changed, factors, {f.name: targets[f.name] for f in factors}, precision, seed)

    @staticmethod
    def of_recorded(
        table: FeatureTable, params: Params, repeats: int, precision: float = PRECISION, seed: int = 0
    ) -> Views:
        """Views of images as they are, of which the factors ``params`` (N) are asked, as far as they vary.

        Args:
            repeats: with other folds and other noise.
        """
        targets = {f.name: factor_targets(f, params) for f in params.space}
        factors = [f for f in params.space if varies(targets[f.name])]
        same = {f.name: [targets[f.name]] * repeats for f in factors}
        return Views(table, [table] * repeats, factors, same, precision, seed, recorded=True)

    def with_columns(self, columns: Sequence[Tensor]) -> Views:
        """The same of other features, (N,) or (N, c) each."""
        vectors = torch.cat([c.double().reshape(len(c), -1) for c in columns], 1).float()
        table = replace(self.plain, vectors=vectors, parts={"all": slice(0, vectors.shape[1])})
        return replace(self, plain=table, changed=[table] * len(self.changed))

    def of_part(self, name: str) -> Views:
        """The same of one named part of the features."""
        return replace(self, plain=self.plain.part(name), changed=[v.part(name) for v in self.changed])

    def pairs(self) -> list[PairFeatures]:
        return [
            PairFeatures.of(self.plain.vectors, view.vectors, self.precision, self.seed, k)
            for k, view in enumerate(self.changed)
        ]


def read_factors(views: Views, weights: Tensor, control: bool = True) -> Iterator[Readout]:
    """Reads each factor from the pairs of images.

    Args:
        weights: (N, R), of ``resample_weights``.
        control: read targets of other images too.
    """
    if not views.factors:
        return
    pairs, seed = views.pairs(), views.seed
    orders = [derangement(len(views.plain), seed, k) for k in range(len(pairs))]
    fits = []
    for k, pair in enumerate(pairs):
        numbers = [_numbers(views.targets[f.name][k]) for f in views.factors]
        others = [y[orders[k]] for y in numbers] if control else []
        fits.append(_fit(views.kernels, pair, [*numbers, *others], views.plain.groups, seed, k))
    for j, factor in enumerate(views.factors):
        y = [_numbers(t) for t in views.targets[factor.name]]
        own = [fit[j] for fit in fits]
        shuffled_score = None
        if control:
            moved = [t[o] for t, o in zip(y, orders, strict=True)]
            shuffled_fits = [fit[len(views.factors) + j] for fit in fits]
            shuffled_score = resampled(shuffled_fits, moved, weights, not factor.discrete)
        predictions = own[0].predictions()
        total = sum(float((t - t.mean(0)).square().sum()) for t in y)
        yield Readout(
            factor,
            resampled(own, y, weights, not factor.discrete),
            shuffled_score,
            {n: 1 - sum(f.inner[n] for f in own) / (FOLDS - 1) / total for n in own[0].inner},
            Counter(fold.probe for fit in own for fold in fit.folds).most_common(1)[0][0],
            None if views.recorded else sum(p.amplitude for p in pairs) / len(pairs),
            min(p.live for p in pairs),
            pairs[0].width,
            predictions.argmax(1) if factor.discrete else predictions,
            views.targets[factor.name][0],
            views.recorded,
        )


def read_absolute(views: Views, weights: Tensor) -> dict[str, Resampled]:
    """The factors themselves, not their change, from the changed images alone."""
    targets = [[_numbers(factor_targets(f, view.params)) for f in views.factors] for view in views.changed]
    fits = [
        _fit(image_kernels, pair, y, views.plain.groups, views.seed, k)
        for k, (pair, y) in enumerate(zip(views.pairs(), targets, strict=True))
    ]
    return {
        f.name: resampled([fit[j] for fit in fits], [y[j] for y in targets], weights, not f.discrete)
        for j, f in enumerate(views.factors)
    }


def read_together(views: Views, other: Views, weights: Tensor) -> dict[str, Resampled]:
    """The factors from two kinds of features of the same images together."""
    targets = [[_numbers(views.targets[f.name][k]) for f in views.factors] for k in range(len(views.changed))]
    fits = []
    for k, (own, second) in enumerate(zip(views.pairs(), other.pairs(), strict=True)):
        kernels, groups = joint_kernels(own, second, views.kernels), views.plain.groups
        fits.append(cross_fit(kernels, None, targets[k], groups, fold_numbers(groups, FOLDS, views.seed, k)))
    return {
        f.name: resampled([fit[j] for fit in fits], [y[j] for y in targets], weights, not f.discrete)
        for j, f in enumerate(views.factors)
    }


def learning_curve(views: Views) -> dict[str, dict[int, float]]:
    """Factor -> number of images -> score, of a quarter and of half of the images; a mean over the draws."""
    curves: dict[str, dict[int, float]] = {f.name: {} for f in views.factors}
    _, which = torch.unique(views.plain.groups, return_inverse=True)
    place = shuffled(int(which.max()) + 1, views.seed, "learning curve")[which]
    for part in CURVE:
        found: dict[str, list[float]] = {f.name: [] for f in views.factors}
        for k, view in enumerate(views.changed):
            rows = (place % part == k % part).nonzero()[:, 0]
            targets = [_numbers(views.targets[f.name][k][rows]) for f in views.factors]
            if len(torch.unique(place[rows])) < LEAST_FOLDS or not all(varies(y) for y in targets):
                continue
            pair = PairFeatures.of(
                views.plain.vectors[rows], view.vectors[rows], views.precision, views.seed, k
            )
            fits = _fit(views.kernels, pair, targets, views.plain.groups[rows], views.seed, k)
            for factor, fit, y in zip(views.factors, fits, targets, strict=True):
                found[factor.name].append(fit_score(fit, y, not factor.discrete))
        for name, values in found.items():
            if values:
                curves[name][len(views.plain) // part] = sum(values) / len(values)
    return curves


def derangement(count: int, *seed: int) -> Tensor:
    """A random order of the images, int64 (N,), in which no image keeps its place."""
    order = shuffled(count, *seed, "control")
    result = torch.empty_like(order)
    result[order] = order.roll(1)
    return result


def _fit(
    kernels_of: Kernels, pair: PairFeatures, targets: Sequence[Tensor], groups: Tensor, seed: int, draw: int
) -> list[CrossFit]:
    kernels, columns = kernels_of(pair)
    return cross_fit(kernels, columns, targets, groups, fold_numbers(groups, FOLDS, seed, draw))


def _numbers(targets: Tensor) -> Tensor:
    return targets.double() if targets.is_floating_point() else F.one_hot(targets).double()


def _change(factor: Factor, plain: FeatureTable, view: FeatureTable) -> Tensor:
    change = between(plain.params, view.params, Space((factor,)))
    return factor_targets(factor.relative(), change)
