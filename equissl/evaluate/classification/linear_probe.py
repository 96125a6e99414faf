"""The linear probe: accuracy of logistic regression on frozen features."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from equissl.config.validation import check_bounds
from equissl.evaluate.base import Evaluation, FeatureTable, Score
from equissl.evaluate.classification.labels import accuracy_scores, labelled, no_classes_reason
from equissl.evaluate.probes.logistic import LogisticSettings, logistic


@dataclass(frozen=True)
class LinearProbe(Evaluation):
    """Top-1 accuracy of logistic regression on frozen features, for every part of them.

    Multinomial, full-batch L-BFGS; the penalty is chosen on a fifth of the training groups, then everything
    is refitted. Images without a label are left out. Yields nothing below two classes. ``AUGSELF_LINEAR`` is
    the protocol of AugSelf.

    Args:
        penalties: to choose from; the first of equally good ones.
        objective: "mean" (mean cross entropy, biases free) or "sum" (summed, biases penalised), as in
            ``probes.logistic``.
        standardize: columns of mean 0 and standard deviation 1; otherwise features are as they are.
        max_iter: iterations of L-BFGS, at most.
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

    penalties: tuple[float, ...] = (1.0, 0.1, 0.01, 0.001, 0.0001)
    objective: Literal["mean", "sum"] = "mean"
    standardize: bool = True
    max_iter: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.penalties or not all(0 < p < math.inf for p in self.penalties):
            raise ValueError(f"penalties must be finite numbers above 0, got {self.penalties}")
        check_bounds(self, "max_iter", low=1)

    def unavailable_reason(self, train: FeatureTable, test: FeatureTable) -> str:
        return no_classes_reason(train, test)

    def run(self, train: FeatureTable, test: FeatureTable) -> Iterator[Score]:
        if self.unavailable_reason(train, test):
            return
        train, test = labelled(train), labelled(test)
        test_parts = test.by_part()
        name, title, shown = "linear/top1", "Linear accuracy, top-1", (test.labels, test.groups)
        settings = LogisticSettings(self.penalties, self.objective, self.standardize, self.max_iter)
        for part, x in train.by_part().items():
            data = (x, train.labels, train.groups, test_parts[part])
            result = logistic(*data, self.seed, settings=settings)
            extra = {"penalty": result.penalty, "converged": result.converged}
            yield from accuracy_scores(
                name, result.predictions, *shown, title, seed=self.seed, part=part, extra=extra
            )
        most_frequent = train.labels.mode().values.expand(len(test))
        yield from accuracy_scores(name, most_frequent, *shown, title, seed=self.seed, baseline="constant")


# arXiv:2111.09613, released code, but for the validation images: a fifth of the training images.
AUGSELF_LINEAR = LinearProbe(
    penalties=tuple(10 ** (-6 + 11 * k / 44) for k in range(45)),
    objective="sum",
    standardize=False,
    max_iter=5000,
)
