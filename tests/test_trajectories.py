"""Losses of thirty steps: golden ones of our own, and those of loops written apart from the package."""

from __future__ import annotations

import json

import pytest
import torch
from original_loops import augself, sie_table
from trajectories import CONFIGURATIONS, EPOCHS, FILE, STEPS, setting, train

GOLDEN: dict[str, list[float]] = json.loads(FILE.read_text(encoding="utf-8"))
TABLE = [name for name in CONFIGURATIONS if name.startswith("sie.")]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_losses_stay_where_they_were(name: str) -> None:
    found = train(setting(name))
    assert len(found) == len(GOLDEN[name]) == STEPS
    same(found, GOLDEN[name], rtol=1e-7)


def test_every_trajectory_is_compared() -> None:
    assert list(GOLDEN) == list(CONFIGURATIONS)


@pytest.mark.golden
@pytest.mark.parametrize("name", TABLE)
def test_a_row_of_sies_table_is_the_originals_loop(name: str) -> None:
    given = setting(name)
    wanted = list(sie_table(name.partition(".")[2], given.model, given.views))
    same(train(given), wanted, rtol=1e-10)


@pytest.mark.golden
def test_augself_is_the_originals_loop() -> None:
    given = setting("augself.simclr")
    wanted = list(augself(given.model, given.views, EPOCHS))
    same(train(given), wanted, rtol=1e-10)


def same(found: list[float], wanted: list[float], rtol: float) -> None:
    doubles = (torch.tensor(losses, dtype=torch.float64) for losses in (found, wanted))
    torch.testing.assert_close(*doubles, atol=0, rtol=rtol)
