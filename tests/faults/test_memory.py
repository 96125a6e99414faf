"""Memory that runs out is said in words, whoever notices it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equissl.errors import memory_problem


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: torch.empty(2**50),
        lambda: torch.empty(2**40, 2**40),
        lambda: np.empty(2**50),
        lambda: bytearray(2**62),
    ],
)
def test_running_out_of_memory_is_said(allocate: object) -> None:
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        allocate()  # type: ignore[operator]
    assert memory_problem(caught.value).startswith("out of memory")


def test_other_errors_are_not_taken_for_it() -> None:
    assert memory_problem(ValueError("size")) == "" and memory_problem(RuntimeError("shape")) == ""
