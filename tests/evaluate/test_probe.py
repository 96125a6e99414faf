from __future__ import annotations

import pytest
import torch

from equissl.evaluate.metrics import r2
from equissl.evaluate.probes.linear import LOGISTIC_WEIGHTS, RIDGE_WEIGHTS, Scaler, logistic, ridge, split
from equissl.evaluate.probes.mlp import network


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("count", [2, 7, 41])
def test_split_keeps_groups_whole_and_loses_nothing(count: int) -> None:
    groups = torch.randint(100, (count,), generator=generator()).repeat(3)
    fit, held = split(groups)
    assert not set(groups[fit].tolist()) & set(groups[held].tolist())
    assert sorted([*fit.tolist(), *held.tolist()]) == list(range(3 * count))
    assert len(fit) and len(held)
    assert torch.equal(held, split(groups)[1]) and len(split(torch.zeros(4))[1]) == 0


@pytest.mark.parametrize(("rows", "columns"), [(120, 10), (40, 90)])
def test_ridge_equals_scikit_learn(rows: int, columns: int) -> None:
    from sklearn.linear_model import Ridge

    g = generator()
    x, test = torch.randn(rows, columns, generator=g) * 3 + 1, torch.randn(9, columns, generator=g)
    y = x @ torch.randn(columns, 2, generator=g) + torch.randn(rows, 2, generator=g)
    reading = ridge(x, y, torch.arange(rows), test)
    scaler = Scaler.of(x)
    model = Ridge(alpha=reading.weight * rows).fit(scaler(x).double(), y.double())
    wanted = torch.from_numpy(model.predict(scaler(test).double().numpy())).float()
    torch.testing.assert_close(reading.predicted, wanted, rtol=1e-4, atol=1e-4)


def test_ridge_finds_the_known_share_of_variance() -> None:
    """Half of the variance is noise, so no probe can read more than half."""
    g = generator()
    x, noise = torch.randn(6000, 20, generator=g), torch.randn(6000, 1, generator=g)
    signal = x @ torch.nn.functional.normalize(torch.randn(20, 1, generator=g), dim=0)
    y = signal + noise
    reading = ridge(x[:4000], y[:4000], torch.arange(4000), x[4000:])
    assert r2(reading.predicted, y[4000:]) == pytest.approx(0.5, abs=0.03)


def test_ridge_shrinks_when_there_is_nothing_to_read() -> None:
    g = generator()
    x, y = torch.randn(60, 50, generator=g), torch.randn(60, 1, generator=g)
    reading = ridge(x, y, torch.arange(60), torch.randn(200, 50, generator=g))
    assert reading.weight >= RIDGE_WEIGHTS[2]
    assert reading.predicted.std() < 0.3 * y.std()


def test_dead_columns_are_ignored() -> None:
    g = generator()
    x, y = torch.randn(80, 3, generator=g), torch.randn(80, 1, generator=g)
    dead = 7 + 1e-7 * torch.randn(80, 1, generator=g)
    with_dead = torch.cat([x, dead], 1)
    plain = ridge(x, y, torch.arange(80), x).predicted
    torch.testing.assert_close(ridge(with_dead, y, torch.arange(80), with_dead).predicted, plain)


def test_logistic_does_not_depend_on_the_units_of_a_column() -> None:
    g = generator()
    x = torch.randn(150, 4, generator=g)
    y = (x[:, 0] + 0.5 * x[:, 1] > 0).long()
    scales = torch.tensor([1e3, 1e-3, 1.0, 50.0])
    first, second = (logistic(z, y, torch.arange(150), z) for z in (x, x * scales + 5))
    assert (first.predicted == y).double().mean() > 0.9
    assert (first.predicted == second.predicted).double().mean() > 0.98 and first.converged


def test_balanced_logistic_finds_the_rare_class() -> None:
    g = generator()
    y = (torch.arange(400) % 20 == 0).long()
    x = torch.randn(400, 2, generator=g) + 1.2 * y[:, None]
    plain, balanced = (logistic(x, y, torch.arange(400), x, balanced=b).predicted for b in (False, True))
    assert balanced[y == 1].double().mean() > 0.6 > 0.3 > plain[y == 1].double().mean()


def test_network_reads_what_ridge_cannot() -> None:
    g = generator()
    x = torch.randn(700, 2, generator=g)
    y = x[:, :1] * x[:, 1:]
    fit, test = slice(0, 500), slice(500, 700)
    groups = torch.arange(500)
    assert r2(ridge(x[fit], y[fit], groups, x[test]).predicted, y[test]) < 0.1
    first = network(x[fit], y[fit], groups, x[test])
    assert r2(first.predicted, y[test]) > 0.7
    assert torch.equal(first.predicted, network(x[fit], y[fit], groups, x[test]).predicted)


def test_network_reads_what_hardly_varies_and_survives_features_that_never_do() -> None:
    """A small change of the image is a small difference of two features that vary together."""
    g = generator()
    much, little = torch.randn(700, 30, generator=g), 0.1 * torch.randn(700, 30, generator=g)
    x = torch.cat([much, much + little], 1)
    y = little[:, :1]
    groups = torch.arange(500)
    assert r2(network(x[:500], y[:500], groups, x[500:]).predicted, y[500:]) > 0.8
    still = torch.ones(700, 4)
    assert network(still[:500], y[:500], groups, still[500:]).predicted.isfinite().all()


def test_network_recognises_classes_by_their_own_numbers() -> None:
    x = torch.randn(300, 2, generator=generator())
    y = torch.where(x[:, 0] * x[:, 1] > 0, 7, 3)
    said = network(x[:200], y[:200], torch.arange(200), x[200:]).predicted
    assert (said == y[200:]).double().mean() > 0.85


def test_logistic_equals_scikit_learn_and_its_weight_is_the_best_on_what_was_held_out() -> None:
    from sklearn.linear_model import LogisticRegression

    g = generator()
    y = torch.randint(3, (240,), generator=g)
    x = torch.randn(240, 30, generator=g) + 0.5 * torch.nn.functional.one_hot(y, 30)
    fit, held = split(torch.arange(240))

    def accuracy(rows: torch.Tensor, asked: torch.Tensor, weight: float) -> torch.Tensor:
        scaler = Scaler.of(x[rows])
        model = LogisticRegression(C=1 / (weight * len(rows)), max_iter=5000, tol=1e-8)
        model.fit(scaler(x[rows]).numpy(), y[rows].numpy())
        return torch.from_numpy(model.predict(scaler(asked).numpy()))

    shares = [float((accuracy(fit, x[held], w) == y[held]).double().mean()) for w in LOGISTIC_WEIGHTS]
    reading = logistic(x, y, torch.arange(240), x)
    assert reading.weight == LOGISTIC_WEIGHTS[shares.index(max(shares))]
    wanted = accuracy(torch.arange(240), x, reading.weight)
    assert (reading.predicted == wanted).double().mean() > 0.99
