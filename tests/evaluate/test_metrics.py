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
    truth = torch.randn(71, 3, generator=g) * torch.tensor([1.0, 5.0, 0.2]) + 3
    guess = truth + torch.randn(71, 3, generator=g)
    wanted = r2_score(truth.double(), guess.double(), multioutput="variance_weighted")
    assert r2(guess, truth) == pytest.approx(wanted, abs=1e-12)
    labels, said = torch.randint(4, (71,), generator=g), torch.randint(6, (71,), generator=g)
    with pytest.warns(UserWarning, match="not in y_true"):
        wanted = balanced_accuracy_score(labels, said)
    assert balanced_accuracy(said, labels) == pytest.approx(wanted)


def test_a_constant_scores_zero_only_with_a_mean_per_column() -> None:
    truth = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) + torch.tensor([5.0, 0.0])
    guess = truth.mean(0).expand(50, 2)
    assert r2(guess, truth) == pytest.approx(0, abs=1e-6)
    assert flat_r2(guess, truth) > 0.5


@pytest.mark.golden
@pytest.mark.parametrize("path", golden("sie_r2"), ids=lambda p: p.stem)
def test_golden_definitions(path: Path) -> None:
    with np.load(path) as file:
        for key in (k.removesuffix("__target") for k in file if k.endswith("__target")):
            guess, truth = (torch.from_numpy(file[f"{key}__{n}"]) for n in ("prediction", "target"))
            assert component_r2(guess, truth) == pytest.approx(file[f"{key}__r2_per_component"], abs=1e-12)
            wanted = float(file[f"{key}__r2_uniform_average"])
            assert mean_r2(guess, truth) == pytest.approx(wanted, abs=1e-12)
            assert r2(guess, truth) == pytest.approx(float(file[f"{key}__r2_variance_weighted"]), abs=1e-12)
            assert flat_r2(guess, truth) == pytest.approx(float(file[f"{key}__r2_official_flat"]), abs=1e-12)


def test_columns_that_do_not_vary_have_no_r2() -> None:
    truth = torch.tensor([[1.0, 0.0], [1.0, 2.0], [1.0, 4.0]])
    guess = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 2.0]])
    assert component_r2(guess, truth) == [None, 0.5] and mean_r2(guess, truth) == 0.5
