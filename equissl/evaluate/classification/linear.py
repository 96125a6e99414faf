"""Can a plane tell the classes apart? The linear probe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from equissl.evaluate.base import Evaluation, Score, Table, share
from equissl.evaluate.probes.linear import logistic
from equissl.evaluate.titles import ACCURACY


@dataclass(frozen=True)
class LinearProbe(Evaluation):
    """Top-1 accuracy of logistic regression on frozen features, for every part of them.

    Multinomial, full-batch L-BFGS, on standardised features; the weight of the penalty is chosen on a
    fifth of the training groups, then everything is refitted (the protocol of arXiv:2111.09613, appendix,
    with a shorter grid). Images without a label are left out. Yields nothing below two classes.

    Args:
        seed: of the split that chooses the weight.
    """

    name: ClassVar[str] = "linearprobe"
    scores: ClassVar[tuple[str, ...]] = ("linear",)
    needs_labels: ClassVar[bool] = True

    seed: int = 0

    def missing(self, train: Table, test: Table) -> str:
        return without_classes(train, test)

    def run(self, train: Table, test: Table) -> Iterator[Score]:
        if self.missing(train, test):
            return
        train, test = labelled(train), labelled(test)
        unseen = test.features()
        for part, x in train.features().items():
            reading = logistic(x, train.labels, train.groups, unseen[part], self.seed)
            extra = {"weight": reading.weight, "converged": reading.converged}
            yield replace(self._score(reading.predicted, test), part=part, extra=extra)
        most = train.labels.mode().values.expand(len(test))
        yield replace(self._score(most, test), baseline="constant")

    def _score(self, said: Tensor, test: Table) -> Score:
        result = asdict(share(said == test.labels, test.groups, self.seed))
        return Score(
            "linear/top1",
            **result,
            unit="share",
            count=len(test),
            seed=self.seed,
            title="Linear accuracy, top-1",
            group=ACCURACY,
            higher_is_better=True,
        )


def labelled(table: Table) -> Table:
    """The images whose label is known."""
    return table[table.labels >= 0]


def without_classes(train: Table, test: Table) -> str:
    """What classification lacks here, as a sentence; "" if nothing."""
    known = torch.unique(labelled(train).labels)
    if not len(known) or not len(labelled(test)):
        split = "test" if len(known) else "training"
        return f"it needs labels, but no {split} image has one; labels=folders or labels=FILE.csv names them"
    if len(known) < 2:
        return "it needs at least two classes, but all labelled training images are of one"
    return ""
