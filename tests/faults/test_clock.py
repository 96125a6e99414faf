"""Rates where the clock stands still between two looks at it."""

from __future__ import annotations

import time

import pytest
import torch

from equissl.training.meters import Meters


def test_images_per_second_with_a_coarse_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 5.0)
    meters = Meters(batch_size=8)
    with meters.timed("data_wait"):
        meters.update({"loss": torch.tensor(1.0)})
    row = meters.flush(1)
    assert row["loss"] == 1.0 and row["images_per_second"] > 0 and row["data_wait"] == 0
