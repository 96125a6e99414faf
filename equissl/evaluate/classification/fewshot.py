"""Few-shot classification: accuracy over episodes with a handful of images of each class."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.config.validation import check_bounds
from equissl.evaluate.base import Evaluation, FeatureTable, Score
from equissl.evaluate.classification.labels import accuracy_score, labelled
from equissl.evaluate.statistics import Z95, Estimate
from equissl.random import Stream


@dataclass(frozen=True)
class FewShot(Evaluation):
    """Accuracy over episodes of ``ways`` classes with ``shots`` support images of each; only test images.

    An episode has ``ways`` classes, a support set of ``shots`` images of each and ``queries`` of each to
    classify, at most one image of a group. Ways, shots and queries are AugSelf's (arXiv:2111.09613, released
    code), whose protocol ``AUGSELF_FEW_SHOT`` is; prototypes are of arXiv:1703.05175, with cosine.
    The interval is mean +- 1.96 standard deviations / sqrt(episodes).

    Args:
        ways: classes of an episode, at least 2.
        shots: sizes of the support set per class; one score for each.
        queries: per class, at most; fewer where classes are small.
        episodes: at least 1.
        head: "prototype" takes the class of the nearest mean by cosine, "logistic" fits scikit-learn's
            logistic regression (C = 1) to features of length 1, about 10 ms an episode, and "one_vs_rest"
            one of its "liblinear" solver for each class to features as they are (AugSelf's).
        seed: of the episodes.
    """

    paper: ClassVar[str] = "arXiv:2111.09613"
    name: ClassVar[str] = "fewshot"
    scores: ClassVar[tuple[str, ...]] = ("fewshot",)
    needs_labels: ClassVar[bool] = True
    ways: int = 5
    shots: tuple[int, ...] = (1, 5)
    queries: int = 16
    episodes: int = 600
    head: Literal["prototype", "logistic", "one_vs_rest"] = "prototype"
    seed: int = 0

    def __post_init__(self) -> None:
        check_bounds(self, "ways", low=2)
        if not self.shots or min(self.shots) < 1:
            raise ValueError(f"shots must be numbers of at least 1, got {self.shots}")
        check_bounds(self, "queries", "episodes", low=1)

    @classmethod
    def example(cls) -> FewShot:
        return cls(ways=3, shots=(1, 2), queries=2, episodes=60)

    def unavailable_reason(self, train: FeatureTable, test: FeatureTable) -> str:
        test = labelled(test)
        if self._feasible_shots(test):
            return ""
        classes = len(torch.unique(test.labels))
        if classes < self.ways:
            return f"it needs {self.ways} classes among the labelled test images, but there are {classes}"
        needed = min(self.shots) + 1
        return f"it needs {self.ways} classes with {needed} or more different test images each"

    def run(self, train: FeatureTable, test: FeatureTable) -> Iterator[Score]:
        test = labelled(test)
        test = test[test.canonical_order()]
        for shot in self._feasible_shots(test):
            queries = min(self.queries, self._groups_per_class(test) - shot)
            sampled = [self._episode(test, shot, queries, k) for k in range(self.episodes)]
            episodes = [rows for rows in sampled if rows is not None]
            if not episodes:
                continue
            rows = torch.stack(episodes)
            for part, x in test.by_part().items():
                x = x if self.head == "one_vs_rest" else F.normalize(x, dim=1)
                accuracy = self._accuracy(x[rows], shot)
                value = float(accuracy.mean())
                half = Z95 * float(accuracy.std(correction=0)) / math.sqrt(len(rows))
                yield accuracy_score(
                    f"fewshot/{shot}",
                    Estimate(value, value - half, value + half),
                    f"{shot}-shot accuracy",
                    count=len(rows),
                    part=part,
                    seed=self.seed,
                    extra={"ways": self.ways, "head": self.head, "repeats": self.ways * queries},
                )

    def _feasible_shots(self, test: FeatureTable) -> list[int]:
        """The shots that leave at least one query."""
        available = self._groups_per_class(test)
        return [shot for shot in self.shots if available > shot]

    def _groups_per_class(self, test: FeatureTable) -> int:
        """Groups that each of the ``ways`` largest classes has, 0 if there are fewer classes."""
        pairs = torch.unique(torch.stack([test.labels, test.groups]), dim=1)
        sizes = torch.unique(pairs[0], return_counts=True)[1].sort(descending=True).values
        return int(sizes[self.ways - 1]) if len(sizes) >= self.ways else 0

    def _episode(self, test: FeatureTable, shot: int, queries: int, number: int) -> Tensor | None:
        """Rows (ways, shot + queries), None if one image per group leaves a class too few."""
        stream = Stream.of(torch.arange(len(test)), self.seed, "episode", number)
        order = stream.keys.argsort()
        order = order[_first_occurrence(test.groups[order])]
        labels = test.labels[order]
        classes, counts = torch.unique(labels, return_counts=True)
        classes = classes[counts >= shot + queries]
        if len(classes) < self.ways:
            return None
        chosen = classes[Stream.of(classes, self.seed, "classes", number).keys.argsort()[: self.ways]]
        return torch.stack([order[labels == c][: shot + queries] for c in chosen.tolist()])

    def _accuracy(self, x: Tensor, shot: int) -> Tensor:
        """The accuracy of each episode: (E, ways, shot + queries, D) -> (E,) float64."""
        support, queries = x[:, :, :shot], x[:, :, shot:]
        targets = torch.arange(self.ways).repeat_interleave(queries.shape[2])
        if self.head == "prototype":
            prototypes = F.normalize(support.mean(2), dim=2)
            predictions = (queries.flatten(1, 2) @ prototypes.transpose(1, 2)).argmax(2)
        else:
            fit = _one_vs_rest if self.head == "one_vs_rest" else _logistic
            predictions = torch.stack([fit(s, q) for s, q in zip(support, queries, strict=True)])
        return (predictions == targets).double().mean(1)


# arXiv:2111.09613, released code: 2,000 tasks, liblinear.
AUGSELF_FEW_SHOT = FewShot(episodes=2000, head="one_vs_rest")


def _logistic(support: Tensor, queries: Tensor) -> Tensor:
    from sklearn.linear_model import LogisticRegression

    return _predict(LogisticRegression(max_iter=1000), support, queries)


def _one_vs_rest(support: Tensor, queries: Tensor) -> Tensor:
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    # Fixed, because the solver goes through coordinates in random order.
    one = LogisticRegression(solver="liblinear", random_state=0)
    return _predict(OneVsRestClassifier(one), support, queries)


def _predict(model: Any, support: Tensor, queries: Tensor) -> Tensor:
    classes = torch.arange(len(support)).repeat_interleave(support.shape[1])
    model.fit(support.flatten(0, 1).numpy(), classes.numpy())
    return torch.from_numpy(model.predict(queries.flatten(0, 1).numpy()))


def _first_occurrence(values: Tensor) -> Tensor:
    """True where a value occurs for the first time: (N,) -> (N,) bool."""
    order = values.argsort(stable=True)
    sorted_values = values[order]
    new = torch.ones_like(sorted_values, dtype=torch.bool)
    new[1:] = sorted_values[1:] != sorted_values[:-1]
    return torch.zeros_like(new).scatter_(0, order, new)
