"""SIE's classification: a linear classifier that sees one new image of every object in each epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from equissl.config.validation import check_bounds
from equissl.evaluate.base import Evaluation, FeatureTable, Score
from equissl.evaluate.classification.labels import accuracy_scores, labelled, no_classes_reason
from equissl.evaluate.probes.network import fit_classifier


@dataclass(frozen=True)
class ObjectProbe(Evaluation):
    """Top-1 of a linear classifier, or a network, trained by Adam on a new image of every object per epoch.

    Features are as they are, the lr is constant and nothing is chosen. Source: SIE's released code
    (arXiv:2302.10283), whose network has two hidden layers of 1024 and which scores one image of every test
    object, here all. Where each image is an object of its own, all of them are seen in each epoch.

    Args:
        hidden: widths of hidden layers with ReLU; none for a linear classifier.
        seed: of weights, order and images.
    """

    paper: ClassVar[str] = "arXiv:2302.10283"
    name: ClassVar[str] = "objectprobe"
    scores: ClassVar[tuple[str, ...]] = ("linear_sie", "mlp_sie")
    needs_labels: ClassVar[bool] = True
    hidden: tuple[int, ...] = ()
    epochs: int = 300
    batch_size: int = 256
    lr: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if not all(width >= 1 for width in self.hidden):
            raise ValueError(f"hidden must be widths of at least 1, got {self.hidden}")
        check_bounds(self, "epochs", "batch_size", low=1)
        check_bounds(self, "lr", above=0)

    @classmethod
    def example(cls) -> ObjectProbe:
        return cls(epochs=60, lr=0.01)

    def unavailable_reason(self, train: FeatureTable, test: FeatureTable) -> str:
        return no_classes_reason(train, test)

    def run(self, train: FeatureTable, test: FeatureTable) -> Iterator[Score]:
        if self.unavailable_reason(train, test):
            return
        train, test = (labelled(t[t.canonical_order()]) for t in (train, test))
        kind, words = ("mlp", "MLP") if self.hidden else ("linear", "Linear")
        extra = {"lr": self.lr, "epochs": self.epochs, "hidden": list(self.hidden)}
        test_parts = test.by_part()
        for part, x in train.by_part().items():
            network = fit_classifier(
                x,
                train.labels,
                train.groups,
                epochs=self.epochs,
                batch_size=self.batch_size,
                lr=self.lr,
                hidden=self.hidden,
                seed=self.seed,
            )
            yield from accuracy_scores(
                f"{kind}_sie/top1",
                network(test_parts[part]).argmax(1),
                test.labels,
                test.groups,
                f"{words} accuracy, SIE's probe, top-1",
                part=part,
                seed=self.seed,
                extra=extra,
            )


SIE_CLASSIFICATION = ObjectProbe()  # arXiv:2302.10283, released code
