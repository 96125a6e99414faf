"""How far the factors of a table depend on each other, on its groups and on its labels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import permutations

import torch
from torch import Tensor

from equissl.params import Params
from equissl.random import shuffled

SHOWN = 0.05  # of the variance, below which a factor is not said to depend on another


def sampled_rows(groups: Tensor, count: int) -> Tensor:
    """``count`` of the images in whole groups (the last may be cut), always the same; all if there are fewer.

    Args:
        groups: (N,) int64.
    """
    _, number = torch.unique(groups, return_inverse=True)
    place = shuffled(int(number.max()) + 1, "confounding")[number]
    return place.argsort(stable=True)[:count].sort().values


def explained_by_classes(encoded: Tensor, classes: Tensor) -> float:
    """The part of the variance of a factor that a partition of the images explains: 0 none, 1 all.

    One minus the variance within classes over that of all, both unbiased (epsilon squared), so that it is
    about 0 if the partition has nothing to do with the factor, however many classes there are; summed over
    the columns of the encoding.

    Args:
        encoded: (N, d), as ``Factor.encode`` gives it.
        classes: (N,) int64.

    Returns:
        NaN if the factor does not vary, or if every image is alone in its class.
    """
    _, number, counts = torch.unique(classes, return_inverse=True, return_counts=True)
    x = encoded.double() - encoded.double().mean(0)
    sums = torch.zeros(len(counts), x.shape[1], dtype=torch.float64).index_add_(0, number, x)
    within = (x - (sums / counts[:, None])[number]).square().sum()
    return _adjusted(float(within), float(x.square().sum()), len(x), len(counts))


def explained_linearly(encoded: Tensor, by: Tensor) -> float:
    """Likewise, by a linear function of another factor's encoding (N, e): the adjusted R2."""
    x, y = (t.double() - t.double().mean(0) for t in (by, encoded))
    left = y - x @ torch.linalg.lstsq(x, y, driver="gelsd").solution
    rank = int(torch.linalg.matrix_rank(x.T @ x, hermitian=True))
    return _adjusted(float(left.square().sum()), float(y.square().sum()), len(x), rank + 1)


def _adjusted(left: float, total: float, count: int, free: int) -> float:
    """1 - left / total, each over its degrees of freedom, cut off at 0."""
    if total <= 1e-12 * count or count <= free:
        return math.nan
    return max(0.0, 1 - (left / (count - free)) / (total / (count - 1)))


def pairs(params: Params) -> Iterator[tuple[str, str, float]]:
    """(factor, other factor, part of the first's variance that the other explains), where not small."""
    encoded = {f.name: f.encode(params.values[f.name]) for f in params.space}
    for name, other in permutations(encoded, 2):
        part = explained_linearly(encoded[name], encoded[other])
        if part >= SHOWN:
            yield name, other, part
