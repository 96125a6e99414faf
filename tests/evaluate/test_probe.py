from __future__ import annotations

import pytest
import torch

from equissl.evaluate.metrics import r2
from equissl.evaluate.probes.base import group_split
from equissl.evaluate.probes.logistic import LOGISTIC_PENALTIES, LogisticSettings, logistic
from equissl.evaluate.probes.mlp import mlp
from equissl.evaluate.probes.ridge import RIDGE_PENALTIES, ridge
from equissl.evaluate.probes.scaler import StandardScaler


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("count", [2, 7, 41])
def test_split_keeps_groups_whole_and_loses_nothing(count: int) -> None:
    groups = torch.randint(100, (count,), generator=generator()).repeat(3)
    fit, held_out = group_split(groups)
    assert not set(groups[fit].tolist()) & set(groups[held_out].tolist())
    assert sorted([*fit.tolist(), *held_out.tolist()]) == list(range(3 * count))
    assert len(fit) and len(held_out)
    assert torch.equal(held_out, group_split(groups)[1]) and len(group_split(torch.zeros(4))[1]) == 0


@pytest.mark.parametrize(("rows", "columns"), [(120, 10), (40, 90)])
def test_ridge_equals_scikit_learn(rows: int, columns: int) -> None:
    from sklearn.linear_model import Ridge

    g = generator()
    x, test = torch.randn(rows, columns, generator=g) * 3 + 1, torch.randn(9, columns, generator=g)
    y = x @ torch.randn(columns, 2, generator=g) + torch.randn(rows, 2, generator=g)
    result = ridge(x, y, torch.arange(rows), test)
    scaler = StandardScaler.fit(x)
    model = Ridge(alpha=result.penalty * rows).fit(scaler.transform(x).double(), y.double())
    expected = torch.from_numpy(model.predict(scaler.transform(test).double().numpy())).float()
    torch.testing.assert_close(result.predictions, expected, rtol=1e-4, atol=1e-4)


def test_ridge_finds_the_known_fraction_of_variance() -> None:
    """Half of the variance is noise, so no probe can read more than half."""
    g = generator()
    x, noise = torch.randn(6000, 20, generator=g), torch.randn(6000, 1, generator=g)
    signal = x @ torch.nn.functional.normalize(torch.randn(20, 1, generator=g), dim=0)
    y = signal + noise
    result = ridge(x[:4000], y[:4000], torch.arange(4000), x[4000:])
    assert r2(result.predictions, y[4000:]) == pytest.approx(0.5, abs=0.03)


def test_ridge_shrinks_when_there_is_nothing_to_read() -> None:
    g = generator()
    x, y = torch.randn(60, 50, generator=g), torch.randn(60, 1, generator=g)
    result = ridge(x, y, torch.arange(60), torch.randn(200, 50, generator=g))
    assert result.penalty >= RIDGE_PENALTIES[2]
    assert result.predictions.std() < 0.3 * y.std()


def test_dead_columns_are_ignored() -> None:
    g = generator()
    x, y = torch.randn(80, 3, generator=g), torch.randn(80, 1, generator=g)
    dead = 7 + 1e-7 * torch.randn(80, 1, generator=g)
    with_dead = torch.cat([x, dead], 1)
    plain = ridge(x, y, torch.arange(80), x).predictions
    torch.testing.assert_close(ridge(with_dead, y, torch.arange(80), with_dead).predictions, plain)


def test_logistic_does_not_depend_on_the_units_of_a_column() -> None:
    g = generator()
    x = torch.randn(150, 4, generator=g)
    y = (x[:, 0] + 0.5 * x[:, 1] > 0).long()
    scales = torch.tensor([1e3, 1e-3, 1.0, 50.0])
    first, second = (logistic(z, y, torch.arange(150), z) for z in (x, x * scales + 5))
    assert (first.predictions == y).double().mean() > 0.9
    assert (first.predictions == second.predictions).double().mean() > 0.98 and first.converged


def test_balanced_logistic_finds_the_rare_class() -> None:
    g = generator()
    y = (torch.arange(400) % 20 == 0).long()
    x = torch.randn(400, 2, generator=g) + 1.2 * y[:, None]
    plain, balanced = (logistic(x, y, torch.arange(400), x, balanced=b).predictions for b in (False, True))
    assert balanced[y == 1].double().mean() > 0.6 > 0.3 > plain[y == 1].double().mean()


def test_network_reads_what_ridge_cannot() -> None:
    g = generator()
    x = torch.randn(700, 2, generator=g)
    y = x[:, :1] * x[:, 1:]
    fit, test = slice(0, 500), slice(500, 700)
    groups = torch.arange(500)
    assert r2(ridge(x[fit], y[fit], groups, x[test]).predictions, y[test]) < 0.1
    first = mlp(x[fit], y[fit], groups, x[test])
    assert r2(first.predictions, y[test]) > 0.7
    assert torch.equal(first.predictions, mlp(x[fit], y[fit], groups, x[test]).predictions)


def test_network_reads_what_hardly_varies_and_survives_features_that_never_do() -> None:
    """A small change of the image is a small difference of two features that vary together."""
    g = generator()
    much, little = torch.randn(700, 30, generator=g), 0.1 * torch.randn(700, 30, generator=g)
    x = torch.cat([much, much + little], 1)
    y = little[:, :1]
    groups = torch.arange(500)
    assert r2(mlp(x[:500], y[:500], groups, x[500:]).predictions, y[500:]) > 0.8
    constant = torch.ones(700, 4)
    assert mlp(constant[:500], y[:500], groups, constant[500:]).predictions.isfinite().all()


def test_network_recognises_classes_by_their_own_numbers() -> None:
    x = torch.randn(300, 2, generator=generator())
    y = torch.where(x[:, 0] * x[:, 1] > 0, 7, 3)
    predictions = mlp(x[:200], y[:200], torch.arange(200), x[200:]).predictions
    assert (predictions == y[200:]).double().mean() > 0.85


def test_logistic_is_at_its_minimum_where_few_images_have_many_columns() -> None:
    """With scikit-learn's tolerance, 118 of these 1,000 classes are others."""
    from sklearn.linear_model import LogisticRegression

    g, penalty = generator(), 1e-4
    y = torch.randint(10, (1040,), generator=g)
    x = torch.randn(1040, 64, generator=g) + 0.35 * torch.randn(10, 64, generator=g)[y]
    settings = LogisticSettings((penalty,))
    result = logistic(x[:40], y[:40], torch.arange(40), x[40:], settings=settings)
    z = StandardScaler.fit(x[:40]).transform(x).double().numpy()
    model = LogisticRegression(C=1 / (penalty * 40), max_iter=50_000, tol=1e-10).fit(z[:40], y[:40].numpy())
    assert result.converged
    assert (result.predictions != torch.from_numpy(model.predict(z[40:]))).sum() <= 1


def test_logistic_equals_scikit_learn_and_its_penalty_is_the_best_on_held_out_groups() -> None:
    from sklearn.linear_model import LogisticRegression

    g = generator()
    y = torch.randint(3, (240,), generator=g)
    x = torch.randn(240, 30, generator=g) + 0.5 * torch.nn.functional.one_hot(y, 30)
    fit, held_out = group_split(torch.arange(240))

    def classes(rows: torch.Tensor, x_test: torch.Tensor, penalty: float) -> torch.Tensor:
        scaler = StandardScaler.fit(x[rows])
        model = LogisticRegression(C=1 / (penalty * len(rows)), max_iter=5000, tol=1e-8)
        model.fit(scaler.transform(x[rows]).numpy(), y[rows].numpy())
        return torch.from_numpy(model.predict(scaler.transform(x_test).numpy()))

    accuracies = [
        float((classes(fit, x[held_out], w) == y[held_out]).double().mean()) for w in LOGISTIC_PENALTIES
    ]
    result = logistic(x, y, torch.arange(240), x)
    assert result.penalty == LOGISTIC_PENALTIES[accuracies.index(max(accuracies))]
    expected = classes(torch.arange(240), x, result.penalty)
    assert (result.predictions == expected).double().mean() > 0.99
