"""The statistics of ``benchmarks/audit_foretelling.py``: a planted association is found, none is not."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import spearmanr

ENCODERS, TASKS = 24, 6
OTHERS = ~np.eye(TASKS, dtype=bool)


@pytest.fixture(scope="module")
def statistics() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "audit_foretelling_statistics.py"
    spec = importlib.util.spec_from_file_location("audit_foretelling_statistics", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_correlations_are_those_of_scipy(statistics: ModuleType) -> None:
    scores, tasks = normal(ENCODERS, 3), normal(ENCODERS, 2, seed=1)
    scores[:6, 0] = 0.0  # equal ranks
    expected = spearmanr(scores, tasks).statistic[:3, 3:]
    np.testing.assert_allclose(statistics.spearman(scores, tasks), expected, atol=1e-12)


def test_partial_correlation_is_that_of_the_textbook(statistics: ModuleType) -> None:
    control = normal(ENCODERS, seed=2)
    x, y = control + normal(ENCODERS, seed=3), control + normal(ENCODERS, seed=4)
    xy, xz, yz = (spearmanr(a, b).statistic for a, b in ((x, y), (x, control), (y, control)))
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    found = statistics.partial_spearman(x[:, None], y[:, None], control)
    np.testing.assert_allclose(found, [[expected]], atol=1e-12)


def test_a_planted_association_is_found(statistics: ModuleType) -> None:
    scores = normal(ENCODERS, TASKS)
    tasks = np.exp(scores + 0.2 * normal(ENCODERS, TASKS, seed=1))
    found = statistics.foretelling(scores, tasks, normal(ENCODERS, seed=2), OTHERS, rounds=200)
    assert found.matching.low > 0.8 and min(i.value for i in found.own) > 0.8
    assert found.difference_partial.low > 0.3
    assert abs(found.other.value) < 0.3


def test_no_association_is_not_found(statistics: ModuleType) -> None:
    scores, tasks = normal(ENCODERS, TASKS), normal(ENCODERS, TASKS, seed=1)
    found = statistics.foretelling(scores, tasks, normal(ENCODERS, seed=2), OTHERS, rounds=200)
    for interval in (found.matching, found.difference, found.matching_partial, found.difference_partial):
        assert interval.low < 0 < interval.high


def test_an_association_by_way_of_the_control_alone_is_partialled_out(statistics: ModuleType) -> None:
    control = normal(ENCODERS, seed=2)
    scores = control[:, None] + 0.3 * normal(ENCODERS, TASKS)
    tasks = control[:, None] + 0.3 * normal(ENCODERS, TASKS, seed=1)
    found = statistics.foretelling(scores, tasks, control, OTHERS, rounds=200)
    assert found.matching.low > 0.6 and found.difference.high < 0.3
    assert found.matching_partial.low < 0 < found.matching_partial.high
