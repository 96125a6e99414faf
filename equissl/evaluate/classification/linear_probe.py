"""The linear probe: accuracy of logistic regression on frozen features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from equissl.evaluate.base import Evaluation, FeatureTable, Score
from equissl.evaluate.classification.labels import accuracy_scores, labelled, no_classes_reason
from equissl.evaluate.probes.logistic import logistic


@dataclass(frozen=True)
class LinearProbe(Evaluation):
    """Top-1 accuracy of logistic regression on frozen features, for every part of them.

    Multinomial, full-batch L-BFGS, on standardised features; the penalty is chosen on a fifth of the
    training groups, then everything is refitted (the protocol of arXiv:2111.09613, appendix, with a shorter
    grid). Images without a label are left out. Yields nothing below two classes.

    Args:
        seed: of the split that chooses the penalty.

    >>> import torch
    >>> from equissl.params import Space
    >>> def table(count):
    ...     labels = torch.arange(count) % 2
    ...     vectors = torch.stack([labels.float(), torch.ones(count)], 1)
    ...     parts = {"all": slice(0, 2)}
    ...     return FeatureTable(vectors, labels, Space().neutral(count), torch.arange(count), parts)
    >>> [(s.name, s.baseline, s.value) for s in LinearProbe().run(table(20), table(10))]
    [('linear/top1', '', 1.0), ('linear/top1', 'constant', 0.5)]
    """

    name: ClassVar[str] = "linearprobe"
    scores: ClassVar[tuple[str, ...]] = ("linear",)
    needs_labels: ClassVar[bool] = True

    seed: int = 0

    def unavailable_reason(self, train: FeatureTable, test: FeatureTable) -> str:
        return no_classes_reason(train, test)

    def run(self, train: FeatureTable, test: FeatureTable) -> Iterator[Score]:
        if self.unavailable_reason(train, test):
            return
        train, test = labelled(train), labelled(test)
        test_parts = test.by_part()
        name, title, shown = "linear/top1", "Linear accuracy, top-1", (test.labels, test.groups)
        for part, x in train.by_part().items():
            result = logistic(x, train.labels, train.groups, test_parts[part], self.seed)
            extra = {"penalty": result.penalty, "converged": result.converged}
            yield from accuracy_scores(
                name, result.predictions, *shown, title, seed=self.seed, part=part, extra=extra
            )
        most_frequent = train.labels.mode().values.expand(len(test))
        yield from accuracy_scores(name, most_frequent, *shown, title, seed=self.seed, baseline="constant")
