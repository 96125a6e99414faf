"""Mistakes on the command line of the benchmarks end in words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("step.py --ways foo", "error: ways=foo: no 'foo'; valid: bare"),
        pytest.param(*("step.py --device mps", "error: device=mps: expected auto"), marks=pytest.mark.slow),
        pytest.param(*("step.py --seconds nan", "expected seconds above 0"), marks=pytest.mark.slow),
        pytest.param(*("inference.py --images 1", "expected 2 or more, got 1"), marks=pytest.mark.slow),
        ("inference.py nonsense", "error: no model 'nonsense'"),
        ("threads.py --rounds 0", "expected 1 or more, got 0"),
    ],
)
def test_a_mistake_ends_in_words(words: str, said: str) -> None:
    name, *rest = words.split()
    command = [sys.executable, str(BENCHMARKS / name), *rest]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode in (1, 2)
    assert said in done.stderr and "Traceback" not in done.stderr
