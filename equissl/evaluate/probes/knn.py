"""The weighted k-nearest-neighbour classifier."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def knn(x: Tensor, y: Tensor, x_test: Tensor, k: int = 20, temperature: float = 0.07) -> Tensor:
    """Classes by a vote of the k nearest training features, each with weight exp(cosine / temperature).

    Source: arXiv:1805.01978, section 3.4. Of classes with equal votes the lowest is taken.

    Args:
        x: (N, D) training features.
        y: (N,) int64 training classes.
        x_test: (M, D) test features; predictions are (M,) int64.
        k: neighbors; all training features where there are fewer.

    >>> x, y = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([4, 7])
    >>> knn(x, y, torch.tensor([[2.0, 1.0]]), k=1).tolist()
    [4]
    """
    x = F.normalize(x, dim=1)
    num_classes, k = int(y.max()) + 1, min(k, len(x))
    predictions = []
    for chunk in torch.split(F.normalize(x_test, dim=1), 1024):
        nearest = (chunk @ x.T).topk(k, dim=1)
        # The greatest is taken out first, so that no temperature overflows.
        cosine = nearest.values.double()
        weight = ((cosine - cosine[:, :1]) / temperature).exp()
        votes = torch.zeros(len(chunk), num_classes, dtype=torch.float64)
        predictions.append(votes.scatter_add_(1, y[nearest.indices], weight).argmax(1))
    return torch.cat(predictions)
