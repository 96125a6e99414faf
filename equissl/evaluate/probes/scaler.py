"""Standardisation of features in torch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class StandardScaler:
    """Columns of mean 0 and standard deviation 1; a constant column becomes 0.

    scikit-learn's scaler of this name divides columns that hold rounding noise only by that noise; here a
    deviation of up to 1e-6 of the largest counts as constant.

    >>> scaler = StandardScaler.fit(torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
    >>> scaler.transform(torch.tensor([[2.0, 5.0]])).tolist()
    [[1.0, 0.0]]
    """

    mean: Tensor
    std: Tensor

    @staticmethod
    def fit(x: Tensor) -> StandardScaler:
        mean, std = x.mean(0), x.std(0, correction=0)
        constant = std <= 1e-6 * std.max()
        return StandardScaler(mean, torch.where(constant, torch.inf, std))

    def transform(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def inverse_transform(self, z: Tensor) -> Tensor:
        return z * self.std.nan_to_num(posinf=0.0) + self.mean
