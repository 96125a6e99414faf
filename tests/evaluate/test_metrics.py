from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_files import golden

from equissl.evaluate.metrics import balanced_accuracy, component_r2, flat_r2, mean_r2, r2


def test_against_scikit_learn() -> None:
    from sklearn.metrics import balanced_accuracy_score, r2_score

    g = torch.Generator().manual_seed(0)
    targets = torch.randn(71, 3, generator=g) * torch.tensor([1.0, 5.0, 0.2]) + 3
    predictions = targets + torch.randn(71, 3, generator=g)
    expected = r2_score(targets.double(), predictions.double(), multioutput="variance_weighted")
    assert r2(predictions, targets) == pytest.approx(expected, abs=1e-12)
    labels, classes = torch.randint(4, (71,), generator=g), torch.randint(6, (71,), generator=g)
    with pytest.warns(UserWarning, match="not in y_true"):
        expected = balanced_accuracy_score(labels, classes)
    assert balanced_accuracy(classes, labels) == pytest.approx(expected)


def test_a_constant_scores_zero_only_with_a_mean_per_column() -> None:
    targets = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) + torch.tensor([5.0, 0.0])
    predictions = targets.mean(0).expand(50, 2)
    assert r2(predictions, targets) == pytest.approx(0, abs=1e-6)
    assert flat_r2(predictions, targets) > 0.5


@pytest.mark.golden
@pytest.mark.parametrize("path", golden("sie_r2"), ids=lambda p: p.stem)
def test_golden_definitions(path: Path) -> None:
    with np.load(path) as file:
        for key in (k.removesuffix("__target") for k in file if k.endswith("__target")):
            predictions, targets = (torch.from_numpy(file[f"{key}__{n}"]) for n in ("prediction", "target"))
            assert component_r2(predictions, targets) == pytest.approx(
                file[f"{key}__r2_per_component"], abs=1e-12
            )
            expected = float(file[f"{key}__r2_uniform_average"])
            assert mean_r2(predictions, targets) == pytest.approx(expected, abs=1e-12)
            assert r2(predictions, targets) == pytest.approx(
                float(file[f"{key}__r2_variance_weighted"]), abs=1e-12
            )
            assert flat_r2(predictions, targets) == pytest.approx(
                float(file[f"{key}__r2_official_flat"]), abs=1e-12
            )


def test_columns_that_do_not_vary_have_no_r2() -> None:
    targets = torch.tensor([[1.0, 0.0], [1.0, 2.0], [1.0, 4.0]])
    predictions = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 2.0]])
    assert component_r2(predictions, targets) == [None, 0.5] and mean_r2(predictions, targets) == 0.5
