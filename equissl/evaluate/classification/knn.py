"""k-nearest-neighbour accuracy of frozen features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from equissl.config.validation import check_bounds
from equissl.evaluate.base import Evaluation, FeatureTable, Score
from equissl.evaluate.classification.labels import accuracy_scores, labelled, no_classes_reason
from equissl.evaluate.probes.knn import knn


@dataclass(frozen=True)
class KNN(Evaluation):
    """Top-1 accuracy of the k nearest training images, each voting with exp(cosine / temperature).

    Source: arXiv:1805.01978, section 3.4, which takes k = 200 and 0.07; E-SSL's monitor takes 200 and 0.1
    (arXiv:2111.00899, released code), AugSelf's k = 1. Images without a label are left out; nothing is
    yielded below two classes.

    Args:
        k: neighbors; all training images where there are fewer.
        temperature: above 0; small ones let the nearest decide.
    """

    title: ClassVar[str] = "kNN classifier"
    paper: ClassVar[str] = "arXiv:1805.01978"
    bibtex: ClassVar[str] = r"""
    @inproceedings{instancediscrimination2018,
      title = {{Unsupervised Feature Learning via Non-Parametric Instance Discrimination}},
      author = {Wu, Zhirong and Xiong, Yuanjun and Yu, Stella X. and Lin, Dahua},
      booktitle = {Conference on Computer Vision and Pattern Recognition},
      year = {2018},
      eprint = {1805.01978},
      archivePrefix = {arXiv},
    }
    """
    name: ClassVar[str] = "knn"
    scores: ClassVar[tuple[str, ...]] = ("knn",)
    needs_labels: ClassVar[bool] = True
    k: int = 20
    temperature: float = 0.07

    def __post_init__(self) -> None:
        check_bounds(self, "k", low=1)
        check_bounds(self, "temperature", above=0)

    def unavailable_reason(self, train: FeatureTable, test: FeatureTable) -> str:
        return no_classes_reason(train, test)

    def run(self, train: FeatureTable, test: FeatureTable) -> Iterator[Score]:
        if self.unavailable_reason(train, test):
            return
        train, test = labelled(train), labelled(test)
        extra = {"k": min(self.k, len(train)), "temperature": self.temperature}
        test_parts = test.by_part()
        for part, x in train.by_part().items():
            predictions = knn(x, train.labels, test_parts[part], self.k, self.temperature)
            title, shown = "kNN accuracy, top-1", (test.labels, test.groups)
            yield from accuracy_scores("knn/top1", predictions, *shown, title, part=part, extra=extra)


ESSL_KNN = KNN(k=200, temperature=0.1)  # arXiv:2111.00899, released code
