"""Collapse of features: standard deviation, effective rank, uniformity and alignment."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.config.validation import check_bounds
from equissl.evaluate.base import Evaluation, FeatureTable, Score
from equissl.evaluate.statistics import jackknife
from equissl.evaluate.titles import COLLAPSE
from equissl.random import shuffled

COLLAPSED_STD, COLLAPSED_RANK = 0.05, 2.0  # below either


@dataclass(frozen=True)
class Collapse(Evaluation):
    """Standard deviation, RankMe and uniformity of the test features, for every part.

    Intervals leave out a tenth of the groups at a time, since repeated images would lower a rank.

    Args:
        limit: images that are compared pair by pair, at most.
    """

    paper: ClassVar[str] = "arXiv:2210.02885"
    bibtex: ClassVar[str] = r"""
    @inproceedings{rankme2023,
      title = {{RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised Representations
        by Their Rank}},
      author = {Garrido, Quentin and Balestriero, Randall and Najman, Laurent and LeCun, Yann},
      booktitle = {International Conference on Machine Learning},
      year = {2023},
      eprint = {2210.02885},
      archivePrefix = {arXiv},
    }
    """

    name: ClassVar[str] = "collapse"
    scores: ClassVar[tuple[str, ...]] = ("collapse",)

    limit: int = 5000

    def __post_init__(self) -> None:
        check_bounds(self, "limit", low=2)

    def unavailable_reason(self, train: FeatureTable, test: FeatureTable) -> str:
        return "" if len(test) > 1 else f"it needs 2 test images or more, but there is {len(test)}"

    def run(self, train: FeatureTable, test: FeatureTable) -> Iterator[Score]:
        if self.unavailable_reason(train, test):
            return
        subset = test[shuffled(len(test), "collapse")[: self.limit]]
        for part in test.by_part():
            width = test.by_part()[part].shape[1]
            std = _score("std", embedding_std, test, part, healthy=1 / math.sqrt(width))
            yield replace(std, title="Embedding std", paper="arXiv:2011.10566")
            yield replace(_score("rank_me", rank_me, test, part), title="RankMe")
            uniform = _score("uniformity", uniformity, subset, part)
            yield replace(uniform, title="Uniformity", paper="arXiv:2005.10242")


def _score(
    name: str, statistic: Callable[[Tensor], float], table: FeatureTable, part: str, **extra: float
) -> Score:
    x = table.by_part()[part]
    result = jackknife(lambda rows: statistic(x[rows]), table.groups)
    value = Score.of("", result) if result else Score("", statistic(x))
    extra = {"width": x.shape[1], **extra}
    return replace(value, name=f"collapse/{name}", count=len(table), part=part, extra=extra, group=COLLAPSE)


def embedding_std(x: Tensor) -> float:
    """Mean over columns of the standard deviation of normalised rows: (N, D) -> [0, 1/sqrt(D)].

    0 is collapse; features spread evenly over the sphere reach 1/sqrt(D). Source: arXiv:2011.10566,
    section 4.1.

    >>> embedding_std(torch.ones(8, 4))
    0.0
    """
    return float(F.normalize(x.double(), dim=1).std(0, correction=0).mean())


def collapse_warning(std: float, rank: float, width: int) -> str:
    """A sentence that says that features are collapsed, "" if they are not.

    Args:
        std: ``embedding_std``; a twentieth of that of evenly spread features is taken for collapse.
        rank: ``rank_me``; below 2 is taken for collapse, unless the features have fewer than 4 columns.
        width: columns of the features.
    """
    spread = std * math.sqrt(width)
    if spread >= COLLAPSED_STD and (rank >= COLLAPSED_RANK or width < 4):
        return ""
    return (
        f"the features are collapsed, nearly the same for all images (std {spread:.3f} where 1 is evenly "
        f"spread, RankMe {rank:.1f} of {width}): scores say little; a lower lr or a larger batch may help"
    )


def rank_me(x: Tensor) -> float:
    """RankMe: effective rank, exp of the entropy of the singular values: (N, D) -> [1, min(N, D)].

    Source: arXiv:2210.02885, equation 1, without its 1e-7, which guards a logarithm that is not taken
    of 0 here. Features that are all 0 have rank 0.

    >>> round(rank_me(torch.eye(4)), 6)
    4.0
    >>> round(rank_me(torch.ones(8, 4)), 6)
    1.0
    """
    x = x.double()
    gram = x.T @ x if len(x) >= x.shape[1] else x @ x.T
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    if not singular.sum() > 0:
        return 0.0
    return float(torch.special.entr(singular / singular.sum()).sum().exp())


def uniformity(x: Tensor, scale: float = 2.0) -> float:
    """Uniformity: log of the mean over pairs of exp(-scale * squared distance) of normalised rows.

    (N, D) -> at most 0. 0 is collapse; about -2 * scale when random directions are orthogonal. Source:
    arXiv:2005.10242, section 4.1.2.

    >>> round(uniformity(torch.eye(3)), 6)
    -4.0
    """
    x = F.normalize(x.double(), dim=1)
    total, count = 0.0, len(x)
    for rows in torch.split(x, 1024):
        squared = (2 - 2 * rows @ x.T).clamp(min=0)
        total += float((-scale * squared).exp().sum())
    return math.log(max((total - count) / (count * (count - 1)), 1e-300))


def alignment(a: Tensor, b: Tensor, power: float = 2.0) -> float:
    """Alignment: mean distance to a power between normalised rows of two views: (N, D), (N, D) -> at least 0.

    0 is invariance. Source: arXiv:2005.10242, section 4.1.1.

    >>> alignment(torch.eye(3), 2 * torch.eye(3))
    0.0
    """
    difference = F.normalize(a.double(), dim=1) - F.normalize(b.double(), dim=1)
    return float(difference.norm(dim=1).pow(power).mean())
