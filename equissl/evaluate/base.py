"""The contract of an evaluation: tables of frozen features in, scores out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.data.base import Data
from equissl.encoder.encoder import Encoder
from equissl.params import Params
from equissl.progress import Progress, no_progress
from equissl.random import Stream


@dataclass(frozen=True)
class Table:
    """Features of one split, with everything that is known of each image.

    Args:
        vectors: (N, D) float32.
        labels: (N,) int64, -1 where unknown.
        params: factors known for each image (a dataset's own, or an augmentation's draw).
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

    def __getitem__(self, rows: Tensor) -> Table:
        """The images ``rows``, integer or bool (n,)."""
        return Table(
            self.vectors[rows],
            self.labels[rows],
            self.params[rows],
            self.groups[rows],
            self.parts,
        )

    def order(self) -> Tensor:
        """Rows by group and then by the features themselves, (N,), however the images were ordered."""
        direction = Stream.of(torch.arange(self.vectors.shape[1]), "direction").normal("d").double()
        rows = (self.vectors.double() * direction[:, 0]).sum(1).argsort(stable=True)
        return rows[self.groups[rows].argsort(stable=True)]

    def features(self) -> dict[str, Tensor]:
        """Part name -> its columns (N, d), the whole vector first."""
        whole = {"all": self.vectors}
        return {**whole, **{n: self.vectors[:, c] for n, c in self.parts.items() if n != "all"}}


@dataclass(frozen=True)
class Score:
    """One number with what is needed to read it, one line of ``scores.jsonl``.

    Args:
        name: what was measured, "linear/top1", "knn/top1", "factor/hue", "equivariance/absolute".
        value: the number, in ``unit``.
        low, high: 95 % interval; None where there is none.
        unit: "share", "R2", "balanced accuracy", "cosine", "ratio", "degrees".
        count: how many images (or episodes, or pairs) stand behind it.
        part: which columns of the features.
        baseline: "" for the model itself; what it is compared with is called "constant" (one answer for
            all), "random" (untrained weights), "identity" (nothing moves) or "shuffled" (wrong parameters).
        seed: the seed of the probe.
        extra: settings and finer numbers; "repeats" says how many answers each of the ``count`` gave, where
            it gave more than one.
        title: what people call it, "Linear accuracy, top-1"; reports fall back to the name.
        group: the heading it stands under, of ``evaluate.titles`` or any other.
        higher_is_better: None if neither end is better by itself; then models are not compared by it.
        paper: "arXiv:..." of the measure; that of the evaluation if it is not given.
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
    title: str = ""
    group: str = ""
    higher_is_better: bool | None = None
    paper: str = ""

    def row(self) -> dict[str, object]:
        """Plain data for JSON."""
        return asdict(self)


class Named:
    """What has a ``name`` on the command line, in settings and in score rows.

    The name stays when the class is renamed; it is the class's in lower case if it is not given.
    """

    title: ClassVar[str] = ""  # what people call it; the class's name if it is not given
    paper: ClassVar[str] = ""  # "arXiv:..."
    bibtex: ClassVar[str] = ""  # its entry, unless another class with this paper has it
    name: ClassVar[str] = ""
    scores: ClassVar[tuple[str, ...]] = ()  # what the names of its scores begin with: "linear", "factor_mlp"
    needs_labels: ClassVar[bool] = False  # gives no score where no test image has a label

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "name" not in vars(cls):
            cls.name = cls.__name__.lower()


class Evaluation(Named, ABC):
    """A question asked of frozen features; subclasses are frozen dataclasses."""

    @abstractmethod
    def run(self, train: Table, test: Table) -> Iterator[Score]:
        """Fit on ``train``, score on ``test``. Yields nothing where the question has no meaning here."""

    def missing(self, train: Table, test: Table) -> str:
        """Why the question has no meaning here, as a sentence that says what is needed; "" if it has one."""
        return ""

    @classmethod
    def example(cls) -> Evaluation:
        """A small, quick instance for the laws in ``equissl.testing``."""
        return cls()


class Downstream(Named, ABC):
    """A task that an encoder is trained further for; its rows in ``scores.jsonl`` say ``by`` its name.

    Subclasses are frozen dataclasses.
    """

    @abstractmethod
    def run(
        self,
        encoder: Encoder,
        data: Data,
        augment: Augmentation,
        *,
        seed: int = 0,
        device: str = "cpu",
        progress: Progress = no_progress,
    ) -> Iterator[Score]:
        """Train a copy of the encoder on ``data`` and score it on its test split, once.

        Args:
            augment: what the views that the encoder was pretrained to see alike differed in.
            seed: of the choice of labels, and of what is trained.

        Raises:
            UserError: the data does not have what the task needs.
        """


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


def estimate(
    statistic: Callable[[Tensor], float], groups: Tensor, rounds: int = 200, seed: int = 0
) -> Estimate:
    """A statistic of all rows with its bootstrap interval, which always contains it.

    Args:
        statistic: row numbers (n,) -> value.
        groups: (N,) rows of one group are drawn together.
    """
    value = statistic(torch.arange(len(groups)))
    low, high = bootstrap(statistic, groups, rounds, seed)
    return Estimate(value, min(low, value), max(high, value))


def share(correct: Tensor, groups: Tensor, seed: int = 0) -> Estimate:
    """The share of True in (N,) bool: Wilson's interval, or the bootstrap's if images share groups.

    Source: Wilson, JASA 22 (1927).
    """
    count, value = len(correct), float(correct.double().mean())
    if len(torch.unique(groups)) < count:
        return estimate(lambda rows: float(correct[rows].double().mean()), groups, seed=seed)
    z = 1.959964
    centre = (value + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(value * (1 - value) / count + (z / count) ** 2 / 4)
    return Estimate(value, min(centre - half, value), max(centre + half, value))


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
    starts = counts.cumsum(0) - counts
    values = []
    for _ in range(rounds):
        picked = torch.randint(len(counts), (len(counts),), generator=generator)
        lengths = counts[picked]
        # Row k of the sample is the k-th minus (rows of the groups before) of its own group.
        shift = starts[picked] - (lengths.cumsum(0) - lengths)
        rows = torch.arange(int(lengths.sum())) + shift.repeat_interleave(lengths)
        values.append(statistic(order[rows]))
    bounds = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = torch.tensor(values, dtype=torch.float64).quantile(bounds)
    return float(low), float(high)


def jackknife(statistic: Callable[[Tensor], float], groups: Tensor, folds: int = 10) -> Estimate | None:
    """A statistic with its 95 % interval from leaving out one fold of the groups after the other.

    For what repeated images would bias, such as a rank. None below four groups.

    Args:
        statistic: row numbers (n,) -> value.
        groups: (N,) rows of one group are left out together.
    """
    names, which = torch.unique(groups, return_inverse=True)
    if len(names) < 4:
        return None
    # By the hash of a group, so that the order of the images does not matter.
    place = Stream.of(names, "jackknife").keys.argsort(stable=True).argsort()
    fold = place[which] % folds
    left = [statistic((fold != k).nonzero()[:, 0]) for k in range(min(folds, len(names)))]
    value, without = statistic(torch.arange(len(groups))), torch.tensor(left, dtype=torch.float64)
    half = 1.959964 * math.sqrt(float(without.var(correction=0)) * (len(left) - 1))
    return Estimate(value, value - half, value + half)
