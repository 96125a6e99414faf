"""The contract of an evaluation: tables of frozen features in, scores out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from equissl.params import Params


@dataclass(frozen=True)
class Table:
    """Features of one split, with everything that is known of each picture.

    Args:
        vectors: (N, D) float32.
        labels: (N,) int64, -1 where unknown.
        params: factors known for each picture (a dataset's own, or an augmentation's draw).
        groups: (N,) int64; rows of one group are never split between fitting and scoring.
        parts: part name -> columns of ``vectors``.
    """

    vectors: Tensor
    labels: Tensor
    params: Params
    groups: Tensor
    parts: Mapping[str, slice]

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True)
class Score:
    """One number with what is needed to read it, one line of ``scores.jsonl``.

    Args:
        name: what was measured, "linear/top1", "knn/top1", "factor/hue", "equivariance/absolute".
        value: the number, in ``unit``.
        low, high: 95 % interval; None where there is none.
        unit: "share", "R2", "balanced accuracy", "cosine", "ratio".
        count: how many pictures stand behind it.
        part: which columns of the features.
        baseline: "" for the model itself, "constant" or "random" for what it is compared with.
        seed: the seed of the probe.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""
    count: int = 0
    part: str = "all"
    baseline: str = ""
    seed: int = 0
    extra: Mapping[str, object] = field(default_factory=dict)

    def row(self) -> dict[str, object]:
        """Plain data for JSON."""
        return asdict(self)


class Evaluation(ABC):
    """A question asked of frozen features; subclasses are frozen dataclasses."""

    paper: ClassVar[str] = ""

    @abstractmethod
    def run(self, train: Table, test: Table) -> Iterator[Score]:
        """Fit on ``train``, score on ``test``. Yields nothing where the question has no meaning here."""

    @classmethod
    def example(cls) -> Evaluation:
        """A small, quick instance for the laws in ``equissl.testing``."""
        return cls()


def bootstrap(
    statistic: Callable[[Tensor], float], groups: Tensor, rounds: int = 200, seed: int = 0
) -> tuple[float, float]:
    """A 95 % interval by resampling groups with replacement.

    Args:
        statistic: row numbers (n,) -> value.
        groups: (N,) rows of one group are drawn together.
    """
    generator = torch.Generator().manual_seed(seed)
    order = groups.argsort(dim=0, stable=True)
    _, counts = torch.unique(groups, return_counts=True)
    rows = order.split(counts.tolist())
    values = []
    for _ in range(rounds):
        picked = torch.randint(len(rows), (len(rows),), generator=generator).tolist()
        values.append(statistic(torch.cat([rows[i] for i in picked])))
    low, high = torch.tensor(values, dtype=torch.float64).quantile(
        torch.tensor([0.025, 0.975], dtype=torch.float64)
    )
    return float(low), float(high)
