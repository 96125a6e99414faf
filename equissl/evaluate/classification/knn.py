"""Do neighbours in feature space share a class? The weighted nearest-neighbour classifier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.evaluate.base import Evaluation, Score, Table, share
from equissl.evaluate.classification.linear import labelled, without_classes
from equissl.evaluate.titles import ACCURACY


@dataclass(frozen=True)
class KNN(Evaluation):
    """Top-1 accuracy of the k nearest training images, each voting with exp(cosine / temperature).

    Source: arXiv:1805.01978, section 3.4, which takes k = 200 and 0.07; E-SSL's monitor takes 200 and 0.1
    (arXiv:2111.00899, released code), AugSelf's k = 1. Images without a label are left out; nothing is
    yielded below two classes.

    Args:
        k: neighbours; all training images where there are fewer.
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
        if self.k < 1 or not self.temperature > 0:
            raise ValueError(f"k and temperature must be above 0, got {self.k}, {self.temperature}")

    def missing(self, train: Table, test: Table) -> str:
        return without_classes(train, test)

    def run(self, train: Table, test: Table) -> Iterator[Score]:
        if self.missing(train, test):
            return
        train, test = labelled(train), labelled(test)
        extra = {"k": min(self.k, len(train)), "temperature": self.temperature}
        unseen = test.features()
        for part, bank in train.features().items():
            said = vote(bank, train.labels, unseen[part], self.k, self.temperature)
            result = share(said == test.labels, test.groups)
            yield Score(
                "knn/top1",
                **asdict(result),
                unit="share",
                count=len(test),
                part=part,
                extra=extra,
                title="kNN accuracy, top-1",
                group=ACCURACY,
                higher_is_better=True,
            )


def vote(bank: Tensor, labels: Tensor, queries: Tensor, k: int, temperature: float) -> Tensor:
    """The class with most votes: (N, D), (N,), (M, D) -> (M,) int64; the lowest of equals."""
    bank = F.normalize(bank, dim=1)
    classes, k = int(labels.max()) + 1, min(k, len(bank))
    answers = []
    for chunk in torch.split(F.normalize(queries, dim=1), 1024):
        nearest = (chunk @ bank.T).topk(k, dim=1)
        # The greatest is taken out first, so that no temperature overflows.
        cosine = nearest.values.double()
        weight = ((cosine - cosine[:, :1]) / temperature).exp()
        votes = torch.zeros(len(chunk), classes, dtype=torch.float64)
        answers.append(votes.scatter_add_(1, labels[nearest.indices], weight).argmax(1))
    return torch.cat(answers)
