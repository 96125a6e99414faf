"""A machine without a compiler, or without a home to write to: one line of ours, none of others."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from equissl.augment import engine, native
from equissl.augment.engine import resolve_engine
from equissl.cli import doctor
from equissl.cli.streams import prepare_streams

DOCTOR = [sys.executable, "-m", "equissl", "doctor"]


def test_without_a_compiler_one_line_tells_the_cost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "the C compiler '/bin/false' made no library (exit status 1)"
    monkeypatch.setattr(native, "_library", lambda: reason)
    engine._say_fallback.cache_clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert [resolve_engine("auto", "cpu") for _ in range(2)] == ["torch", "torch"]
    assert len(said) == 1 and f"augmentations run on torch: {reason}. {engine.COST}" in str(said[0].message)
    doctor._augmentations()
    (line,) = capsys.readouterr().out.splitlines()
    assert reason in line and engine.COST in line


def test_matplotlib_keeps_its_warnings_of_a_missing_home_to_itself() -> None:
    prepare_streams()
    assert logging.getLogger("matplotlib.anything").getEffectiveLevel() == logging.ERROR


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that not even root may write to")
def test_a_home_that_cannot_be_written_to_is_said_once_and_by_us_alone() -> None:
    gone = {"XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"}
    bare = {k: v for k, v in os.environ.items() if k not in gone} | {"HOME": "/proc/none"}
    done = subprocess.run(DOCTOR, env=bare, capture_output=True, text=True, timeout=120, check=True)
    said = done.stderr.splitlines()
    assert len(said) <= 1 and all(line.startswith("warning: the cache folder") for line in said)
