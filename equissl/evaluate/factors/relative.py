"""What changed between two images of one object, read from both their features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from equissl.evaluate.base import Evaluation, Score, Table
from equissl.evaluate.factors.known import constant, scores, target, varies
from equissl.evaluate.factors.pair import relative_probe
from equissl.evaluate.probes.linear import ProbeResult, logistic, ridge
from equissl.evaluate.probes.mlp import network
from equissl.params import Factor, Space, between
from equissl.random import Stream


@dataclass(frozen=True)
class RelativeFactors(Evaluation):
    """R2 of the change of each factor between two images of one group, from both features, for every part.

    Every image is the source of one pair, whose other image is the next of its group, so images that
    are alone in their group are left out. A change is ``params.between``, encoded as its kind does it. This
    is the SIE benchmark's question (arXiv:2302.10283), with pairs that are drawn once and a constant's
    score beside it.

    Args:
        factors: which; all that vary if empty.
        probe: "kernel" (products of features and their differences, exact), "ridge" (linear; logistic
            regression for classes) or "mlp" (the nearest to the benchmark's own).
        limit: training pairs, at most; the kernel's time grows with its cube.
        seed: of the pairs and the probe.
    """

    name: ClassVar[str] = "relativefactors"
    scores: ClassVar[tuple[str, ...]] = ("relative", "relative_mean", "relative_flat", "relative_degrees")

    factors: tuple[str, ...] = ()
    probe: Literal["kernel", "ridge", "mlp"] = "kernel"
    limit: int = 1500
    seed: int = 0

    def __post_init__(self) -> None:
        if self.probe not in ("kernel", "ridge", "mlp"):
            raise ValueError(f"probe must be kernel, ridge or mlp, got {self.probe!r}")

    def missing(self, train: Table, test: Table) -> str:
        if not self._asked(test.params.space).names:
            return f"no factor {'of ' + ', '.join(self.factors) if self.factors else ''} is known here"
        if not len(_pairs(train, self.seed)[0]) or not len(_pairs(test, self.seed)[0]):
            return "it needs several images of one object, but each image is of another"
        return ""

    def run(self, train: Table, test: Table) -> Iterator[Score]:
        if self.missing(train, test):
            return
        ends = _pairs(train, self.seed), _pairs(test, self.seed)
        kept = Stream.of(torch.arange(len(ends[0][0])), self.seed, "pairs").keys.argsort()[: self.limit]
        learnt, asked = (train, ends[0][0][kept], ends[0][1][kept]), (test, *ends[1])
        for factor in self._asked(test.params.space):
            truth = _change(factor, *learnt), _change(factor, *asked)
            if varies(truth[0]) and varies(truth[1]):
                yield from self._read(factor, _joined(*learnt), _joined(*asked), *truth)

    def _asked(self, space: Space) -> Space:
        return space.select([n for n in space.names if not self.factors or n in self.factors])

    def _read(
        self, factor: Factor, train: Table, test: Table, known: Tensor, truth: Tensor
    ) -> Iterator[Score]:
        half = train.vectors.shape[1] // 2
        for part, columns in {"all": slice(0, half), **train.parts}.items():
            sides = [slice(s + columns.start, s + columns.stop) for s in (0, half)]
            few = [replace(t, vectors=torch.cat([t.vectors[:, s] for s in sides], 1)) for t in (train, test)]
            said = self._fit(few[0], few[1], known, truth, factor.discrete)
            extra: dict[str, object] = {"probe": self.probe, "weight": said.weight}
            found = said.predicted, truth, test.groups
            yield from scores("relative", factor, *found, part, seed=self.seed, extra=extra)
        guess = constant(known, len(test)), truth, test.groups
        yield from scores("relative", factor, *guess, baseline="constant", seed=self.seed)

    def _fit(self, train: Table, test: Table, known: Tensor, truth: Tensor, discrete: bool) -> ProbeResult:
        given = train.vectors, known, train.groups, test.vectors, self.seed
        if self.probe == "mlp":
            return network(*given)
        if self.probe == "ridge":
            return logistic(*given, balanced=True) if discrete else ridge(*given)
        count, width = len(train), train.vectors.shape[1] // 2
        vectors = torch.cat([train.vectors, test.vectors])
        # Groups of either split are numbered apart; the truth of the test pairs is not looked at.
        groups = torch.cat([train.groups, test.groups + int(train.groups.max()) + 1])
        parts = {"plain": slice(0, width), "changed": slice(width, 2 * width)}
        labels = torch.cat([train.labels, test.labels])
        pairs = Table(vectors, labels, Space().neutral(len(vectors)), groups, parts)
        rows = torch.arange(len(vectors))
        return relative_probe(pairs, torch.cat([known, truth]), rows[:count], rows[count:], self.seed)

    @classmethod
    def example(cls) -> RelativeFactors:
        return cls(factors=("size",), limit=300)


def _pairs(table: Table, seed: int) -> tuple[Tensor, Tensor]:
    """Rows of the first and of the second image of every pair, (P,) int64 each."""
    order = table.order()
    groups = table.groups[order]
    _, which, counts = torch.unique_consecutive(groups, return_inverse=True, return_counts=True)
    starts = (counts.cumsum(0) - counts)[which]
    place, size = torch.arange(len(order)) - starts, counts[which]
    # How far the partner is: drawn once for a group, so that every image is once a target too.
    step = (Stream.of(groups, seed, "partner").uniform("step")[:, 0] * (size - 1)).long() + 1
    partner = order[starts + (place + step) % size]
    several = size > 1
    return order[several], partner[several]


def _joined(table: Table, first: Tensor, second: Tensor) -> Table:
    vectors = torch.cat([table.vectors[first], table.vectors[second]], 1)
    return replace(table[first], vectors=vectors)


def _change(factor: Factor, table: Table, first: Tensor, second: Tensor) -> Tensor:
    space = Space((factor,))
    params = table.params.select((factor.name,))
    return target(factor.relative(), between(params[first], params[second], space))
