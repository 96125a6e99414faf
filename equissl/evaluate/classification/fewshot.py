"""How well are classes told apart from a handful of images each? Few-shot episodes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.evaluate.base import Evaluation, Score, Table
from equissl.evaluate.classification.linear import labelled
from equissl.evaluate.titles import ACCURACY
from equissl.random import Stream


@dataclass(frozen=True)
class FewShot(Evaluation):
    """Accuracy over episodes of a few classes, learnt from a few images of each; only test images.

    An episode takes ``ways`` classes, ``shot`` images of each to learn from and ``queries`` of each to
    recognise, at most one image of a group. The protocol of AugSelf (arXiv:2111.09613, released code: 5
    ways, 1 and 5 shots, 16 queries, 2,000 tasks, logistic regression) with fewer episodes; prototypes are
    of arXiv:1703.05175, with cosine. The interval is mean +- 1.96 standard deviations / sqrt(episodes).

    Args:
        shots: images of each class to learn from; one score for each.
        queries: at most; fewer where classes are small.
        head: "prototype" takes the class of the nearest mean by cosine, "logistic" fits scikit-learn's
            logistic regression (C = 1) to features of length 1, about 10 ms an episode.
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
    head: Literal["prototype", "logistic"] = "prototype"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.ways < 2:
            raise ValueError(f"ways must be at least 2, got {self.ways}")
        if not self.shots or min(self.shots) < 1:
            raise ValueError(f"shots must be numbers of at least 1, got {self.shots}")
        for name in ("queries", "episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.head not in ("prototype", "logistic"):
            raise ValueError(f"head must be prototype or logistic, got {self.head!r}")

    @classmethod
    def example(cls) -> FewShot:
        return cls(ways=3, shots=(1, 2), queries=2, episodes=60)

    def missing(self, train: Table, test: Table) -> str:
        return "" if self._possible(test) else self._too_few(test)

    def run(self, train: Table, test: Table) -> Iterator[Score]:
        test = labelled(test)
        test = test[test.order()]
        for shot in self._possible(test):
            queries = min(self.queries, self._room(test) - shot)
            drawn = [self._episode(test, shot, queries, k) for k in range(self.episodes)]
            episodes = [rows for rows in drawn if rows is not None]
            if not episodes:
                continue
            rows = torch.stack(episodes)
            for part, x in test.features().items():
                right = self._recognised(F.normalize(x, dim=1)[rows], shot)
                value = float(right.mean())
                half = 1.959964 * float(right.std(correction=0)) / math.sqrt(len(rows))
                yield Score(
                    f"fewshot/{shot}",
                    value,
                    value - half,
                    value + half,
                    unit="share",
                    count=len(rows),
                    part=part,
                    seed=self.seed,
                    extra={"ways": self.ways, "head": self.head, "repeats": self.ways * queries},
                    title=f"{shot}-shot accuracy",
                    group=ACCURACY,
                    higher_is_better=True,
                )

    def _possible(self, test: Table) -> list[int]:
        """The shots that leave at least one query."""
        room = self._room(labelled(test))
        return [shot for shot in self.shots if room > shot]

    def _room(self, test: Table) -> int:
        """Groups that each of the ``ways`` largest classes has, 0 if there are fewer classes."""
        pairs = torch.unique(torch.stack([test.labels, test.groups]), dim=1)
        sizes = torch.unique(pairs[0], return_counts=True)[1].sort(descending=True).values
        return int(sizes[self.ways - 1]) if len(sizes) >= self.ways else 0

    def _too_few(self, test: Table) -> str:
        classes = len(torch.unique(labelled(test).labels))
        if classes < self.ways:
            return f"it needs {self.ways} classes among the labelled test images, but there are {classes}"
        wanted = min(self.shots) + 1
        return f"it needs {self.ways} classes with {wanted} or more different test images each"

    def _episode(self, test: Table, shot: int, queries: int, number: int) -> Tensor | None:
        """Rows (ways, shot + queries), None if the draw leaves a class too few images."""
        stream = Stream.of(torch.arange(len(test)), self.seed, "episode", number)
        order = stream.keys.argsort()
        order = order[_first(test.groups[order])]
        labels = test.labels[order]
        classes, counts = torch.unique(labels, return_counts=True)
        classes = classes[counts >= shot + queries]
        if len(classes) < self.ways:
            return None
        chosen = classes[Stream.of(classes, self.seed, "classes", number).keys.argsort()[: self.ways]]
        return torch.stack([order[labels == c][: shot + queries] for c in chosen.tolist()])

    def _recognised(self, x: Tensor, shot: int) -> Tensor:
        """The share recognised in each episode: (E, ways, shot + queries, D) -> (E,) float64."""
        known, asked = x[:, :, :shot], x[:, :, shot:]
        truth = torch.arange(self.ways).repeat_interleave(asked.shape[2])
        if self.head == "prototype":
            means = F.normalize(known.mean(2), dim=2)
            said = (asked.flatten(1, 2) @ means.transpose(1, 2)).argmax(2)
        else:
            said = torch.stack([_logistic(k, a) for k, a in zip(known, asked, strict=True)])
        return (said == truth).double().mean(1)


def _logistic(known: Tensor, asked: Tensor) -> Tensor:
    from sklearn.linear_model import LogisticRegression

    names = torch.arange(len(known)).repeat_interleave(known.shape[1])
    model = LogisticRegression(max_iter=1000).fit(known.flatten(0, 1).numpy(), names.numpy())
    return torch.from_numpy(model.predict(asked.flatten(0, 1).numpy()))


def _first(values: Tensor) -> Tensor:
    """True where a value stands for the first time: (N,) -> (N,) bool."""
    order = values.argsort(stable=True)
    held = values[order]
    new = torch.ones_like(held, dtype=torch.bool)
    new[1:] = held[1:] != held[:-1]
    return torch.zeros_like(new).scatter_(0, order, new)
