"""The interface of evaluations: tables of frozen features in, scores out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.config.validation import Checked
from equissl.data.base import Data
from equissl.encoder.encoder import Encoder
from equissl.evaluate.finite import check_finite
from equissl.evaluate.statistics import Estimate
from equissl.params import Params
from equissl.progress import Progress, no_progress
from equissl.random import Stream


@dataclass(frozen=True)
class FeatureTable:
    """Features of the images of one split, with their labels and factors.

    Args:
        vectors: (N, D) float32.
        labels: (N,) int64, -1 where unknown.
        params: factors of each image (the dataset's own, or the parameters of an augmentation).
        groups: (N,) int64; images of one group (an object) are never split between fitting and scoring.
        parts: part name -> columns of ``vectors``.
        rows: (N,) int64, which sample of its dataset each image is; None if it is of none.

    Raises:
        NonFiniteError: ``vectors`` are not finite.
    """

    vectors: Tensor
    labels: Tensor
    params: Params
    groups: Tensor
    parts: Mapping[str, slice]
    rows: Tensor | None = None

    def __post_init__(self) -> None:
        check_finite(self.vectors)

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: Tensor) -> FeatureTable:
        """The images ``rows``, integer or bool (n,)."""
        return FeatureTable(
            self.vectors[rows],
            self.labels[rows],
            self.params[rows],
            self.groups[rows],
            self.parts,
            None if self.rows is None else self.rows[rows],
        )

    def part(self, name: str) -> FeatureTable:
        """The columns of part ``name`` alone."""
        own = self.vectors[:, self.parts[name]]
        return replace(self, vectors=own, parts={"all": slice(0, own.shape[1])})

    def canonical_order(self) -> Tensor:
        """Rows by group and then by the features themselves, (N,), however the images were ordered."""
        direction = Stream.of(torch.arange(self.vectors.shape[1]), "direction").normal("d").double()
        rows = (self.vectors.double() * direction[:, 0]).sum(1).argsort(stable=True)
        return rows[self.groups[rows].argsort(stable=True)]

    def by_part(self) -> dict[str, Tensor]:
        """Part name -> its columns (N, d), the whole vector ("all") first."""
        whole = {"all": self.vectors}
        return {**whole, **{n: self.vectors[:, c] for n, c in self.parts.items() if n != "all"}}


@dataclass(frozen=True)
class Score:
    """One measured number with its interval and context: one line of ``scores.jsonl``.

    Args:
        name: what was measured, "linear/top1", "knn/top1", "factor/hue", "equivariance/absolute".
        value: the number, in ``unit``.
        low, high: 95 % interval; None where there is none.
        unit: "fraction", "R2", "balanced accuracy", "cosine", "ratio", "degrees".
        count: how many images (or episodes, or pairs) stand behind it.
        part: which columns of the features.
        baseline: "" for the model itself; otherwise "constant" (one prediction for all images), "random"
            (random initialisation), "identity" (the embedding stays) or "shuffled" (wrong parameters).
        seed: the seed of the probe.
        extra: settings and finer numbers; "repeats": predictions per each of the ``count``, where there are
            several.
        title: display name, "Linear accuracy, top-1"; reports fall back to ``name``.
        group: heading in reports, of ``evaluate.titles`` or any other.
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

    @classmethod
    def of(cls, name: str, estimate: Estimate, **fields: Any) -> Score:
        """A score with the value and the interval of ``estimate``."""
        return cls(name, **asdict(estimate), **fields)

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
    costly: ClassVar[bool] = False  # computed if it is named, not as one of "all"

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "name" not in vars(cls):
            cls.name = cls.__name__.lower()


class Evaluation(Named, Checked, ABC):
    """A measure of frozen features; subclasses are frozen dataclasses."""

    @abstractmethod
    def run(self, train: FeatureTable, test: FeatureTable) -> Iterator[Score]:
        """Fit on ``train``, score on ``test``. Yields nothing where it is unavailable."""

    def unavailable_reason(self, train: FeatureTable, test: FeatureTable) -> str:
        """Why it cannot be measured here, as a sentence that says what is needed; "" if it can."""
        return ""

    @classmethod
    def example(cls) -> Evaluation:
        """A small, quick instance for the laws in ``equissl.testing``."""
        return cls()


class Downstream(Named, Checked, ABC):
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
