"""Regression of the change of each factor between two images of one object from both features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.config.validation import check_bounds
from equissl.evaluate.base import Evaluation, FeatureTable, Score
from equissl.evaluate.factors.scoring import (
    constant_prediction,
    factor_scores,
    factor_targets,
    fit_factor_probe,
    selected_factors,
    varies,
)
from equissl.evaluate.probes.base import ProbeResult
from equissl.evaluate.probes.kernel_probe import kernel_probe
from equissl.evaluate.probes.network import fit_pair_network, joined, random_pairs
from equissl.evaluate.probes.pair_kernels import PairFeatures, pair_kernels
from equissl.params import Factor, Space, between
from equissl.random import Stream


@dataclass(frozen=True)
class RelativeFactors(Evaluation):
    """R2 of the change of each factor between two images of one group, from both features, for every part.

    Every image is the source of one pair, whose other image is the next of its group, so images that
    are alone in their group are left out. A change is ``params.between``, encoded as its kind does it. This
    is the SIE benchmark's task (arXiv:2302.10283), with pairs that are sampled once and a constant's
    score beside it.

    Args:
        factors: names; all that vary if empty.
        probe: "kernel" (the audit's kernels of both images' features, ``probes.pair_kernels``; kernel and
            penalty by leave-one-group-out), "ridge" (linear; logistic regression for classes), "mlp"
            (scikit-learn's, stopped early) or "sie", the benchmark's own (``probes.network``): one pair of
            every object, a new one in each epoch, and one of every test object; discrete factors are left
            out.
        limit: training pairs, at most, of all probes but "sie"; the kernel's time grows with its cube.
        epochs: of the probe "sie".
        seed: of the pairs and the probe.
    """

    name: ClassVar[str] = "relativefactors"
    scores: ClassVar[tuple[str, ...]] = ("relative", "relative_mean", "relative_flat", "relative_degrees")

    factors: tuple[str, ...] = ()
    probe: Literal["kernel", "ridge", "mlp", "sie"] = "kernel"
    limit: int = 1500
    epochs: int = 300
    seed: int = 0

    def __post_init__(self) -> None:
        check_bounds(self, "limit", low=2)
        check_bounds(self, "epochs", low=1)

    def unavailable_reason(self, train: FeatureTable, test: FeatureTable) -> str:
        if not test.params.space.names:
            return "it needs factors, but the dataset records none"
        self._selected(test.params.space)
        if not len(_pair_rows(train, self.seed)[0]) or not len(_pair_rows(test, self.seed)[0]):
            return "it needs several images of one object, but each image is of another"
        return ""

    def run(self, train: FeatureTable, test: FeatureTable) -> Iterator[Score]:
        if self.unavailable_reason(train, test):
            return
        if self.probe == "sie":
            yield from self._sie_scores(train[train.canonical_order()], test[test.canonical_order()])
            return
        first, second = _pair_rows(train, self.seed)
        kept = Stream.of(torch.arange(len(first)), self.seed, "pairs").keys.argsort()[: self.limit]
        train_rows, test_rows = (first[kept], second[kept]), _pair_rows(test, self.seed)
        changes = [
            (f, _change(f, train, *train_rows), _change(f, test, *test_rows))
            for f in self._selected(test.params.space)
        ]
        changes = [(f, y, y_test) for f, y, y_test in changes if varies(y) and varies(y_test)]
        if changes:
            yield from self._scores(changes, _joined(train, *train_rows), _joined(test, *test_rows))

    def _sie_scores(self, train: FeatureTable, test: FeatureTable) -> Iterator[Score]:
        pairs = random_pairs(test.groups, self.seed, self.epochs)  # as the last epoch of training would draw
        groups, x_test = test.groups[pairs[0]], test.by_part()
        for factor in self._selected(test.params.space):
            y = partial(_change, factor, train)
            y_train = y(*random_pairs(train.groups, self.seed, 0))
            y_test = _change(factor, test, *pairs)
            if factor.discrete or not varies(y_test) or not varies(y_train):
                continue
            for part, x in train.by_part().items():
                network = fit_pair_network(x, train.groups, y, epochs=self.epochs, seed=self.seed)
                predictions = network(joined(x_test[part], *pairs))
                extra = {"probe": self.probe, "epochs": self.epochs}
                yield from factor_scores(
                    "relative", factor, predictions, y_test, groups, part, seed=self.seed, extra=extra
                )
            constant = constant_prediction(y_train, len(groups))
            yield from factor_scores(
                "relative", factor, constant, y_test, groups, baseline="constant", seed=self.seed
            )

    def _selected(self, space: Space) -> Space:
        return selected_factors(space, self.factors, "relativefactors.factors")

    def _scores(
        self, changes: Sequence[tuple[Factor, Tensor, Tensor]], train: FeatureTable, test: FeatureTable
    ) -> Iterator[Score]:
        half = train.vectors.shape[1] // 2
        targets = [y for _, y, _ in changes]
        for part, columns in {"all": slice(0, half), **train.parts}.items():
            sides = [slice(s + columns.start, s + columns.stop) for s in (0, half)]
            few = [replace(t, vectors=torch.cat([t.vectors[:, s] for s in sides], 1)) for t in (train, test)]
            fits = self._fits(few[0], few[1], targets)
            for (factor, _, y_test), (probe, result) in zip(changes, fits, strict=True):
                extra = {"probe": probe, "penalty": result.penalty}
                shown = result.predictions, y_test, test.groups
                yield from factor_scores("relative", factor, *shown, part, seed=self.seed, extra=extra)
        for factor, y, y_test in changes:
            shown = constant_prediction(y, len(test)), y_test, test.groups
            yield from factor_scores("relative", factor, *shown, baseline="constant", seed=self.seed)

    def _fits(
        self, train: FeatureTable, test: FeatureTable, targets: Sequence[Tensor]
    ) -> list[tuple[str, ProbeResult]]:
        if self.probe != "kernel":
            data = train.vectors, train.groups, test.vectors
            fits = [fit_factor_probe(self.probe, data[0], y, *data[1:], self.seed) for y in targets]
            return [(self.probe, fit) for fit in fits]
        # Groups of either split are numbered apart.
        groups = torch.cat([train.groups, test.groups + int(train.groups.max()) + 1])
        plain, changed = torch.cat([train.vectors, test.vectors]).tensor_split(2, 1)
        kernels, _ = pair_kernels(PairFeatures.of(plain, changed, seed=self.seed))
        fit, held_out = torch.arange(len(plain)).tensor_split([len(train)])
        numbers = [y if y.is_floating_point() else F.one_hot(y) for y in targets]
        found = kernel_probe(kernels, numbers, groups, fit, held_out)
        return [
            (name, r if y.is_floating_point() else replace(r, predictions=r.predictions.argmax(1)))
            for y, (name, r) in zip(targets, found, strict=True)
        ]

    @classmethod
    def example(cls) -> RelativeFactors:
        return cls(factors=("size",), limit=300)


SIE_PAIRS = RelativeFactors(probe="sie")  # arXiv:2302.10283, released code


def _pair_rows(table: FeatureTable, seed: int) -> tuple[Tensor, Tensor]:
    """Rows of the first and of the second image of every pair, (P,) int64 each."""
    order = table.canonical_order()
    groups = table.groups[order]
    _, which, counts = torch.unique_consecutive(groups, return_inverse=True, return_counts=True)
    starts = (counts.cumsum(0) - counts)[which]
    position, size = torch.arange(len(order)) - starts, counts[which]
    # How far the partner is: sampled once for a group, so that every image is once a target too.
    step = (Stream.of(groups, seed, "partner").uniform("step")[:, 0] * (size - 1)).long() + 1
    partner = order[starts + (position + step) % size]
    several = size > 1
    return order[several], partner[several]


def _joined(table: FeatureTable, first: Tensor, second: Tensor) -> FeatureTable:
    vectors = torch.cat([table.vectors[first], table.vectors[second]], 1)
    return replace(table[first], vectors=vectors)


def _change(factor: Factor, table: FeatureTable, first: Tensor, second: Tensor) -> Tensor:
    space = Space((factor,))
    params = table.params.select((factor.name,))
    return factor_targets(factor.relative(), between(params[first], params[second], space))
