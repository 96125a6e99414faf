"""The attacks of ``run.py`` at small counts: a few in every test run, all of them among the slow tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.py")
ATTACKS = sorted(p.stem for p in RUN.with_name("attacks").glob("*.py"))


def attack(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUN), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


@pytest.mark.parametrize(
    "words", ["sigkill fraction=0.02", "recipes hostile images command_lines fraction=0.008"]
)
def test_a_few_attacks_find_nothing(words: str) -> None:
    done = attack(*words.split())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_find_nothing(name: str) -> None:
    done = attack(name, "fraction=0.05", "seed=1")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_name_is_refused() -> None:
    done = attack("nosuch")
    assert done.returncode == 2 and "valid: clock, command_lines" in done.stderr
