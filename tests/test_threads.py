"""Threads: not more than there are cores for this process, and asleep while they wait."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from test_train import QUIET, tiny
from threadpoolctl import threadpool_info, threadpool_limits

from equissl import distributed
from equissl.api import quickstart
from equissl.augment import HorizontalFlip, Pipeline
from equissl.distributed import available_cores, limit_threads, use_free_cores
from equissl.params import Params
from equissl.random import Stream
from equissl.training.loop import train
from equissl.training.options import Options


@pytest.fixture(autouse=True)
def _eight_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    with threadpool_limits(8, "blas"):
        yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("cores", "processes", "threads", "said"),
    [
        (1, 1, 1, "threads=1: there is 1 core here"),
        (4, 1, 4, "threads=4: there are 4 cores here"),
        (4, 2, 2, "threads=2: there are 4 cores here, which 2 processes share"),
        (2, 8, 1, "threads=1: there are 2 cores here, which 8 processes share"),
        (8, 1, 8, ""),
        (64, 2, 8, ""),  # fewer are left as they are
    ],
)
def test_threads_are_bounded_by_the_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, processes: int, threads: int, said: str
) -> None:
    monkeypatch.setattr(distributed, "cpu_count", lambda: cores)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert limit_threads(processes) == said
    assert torch.get_num_threads() == threads
    blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    assert blas and max(blas) <= threads


@pytest.mark.parametrize(
    ("load", "threads", "said"),
    [
        (0.2, 4, "threads=4: others use the rest of 4 cores (load 0.2)"),
        (2.9, 1, "threads=1: others use the rest of 4 cores (load 2.9)"),
        (30.0, 1, "threads=1: others use the rest of 4 cores (load 30.0)"),
    ],
)
def test_the_quickstart_leaves_cores_to_others(
    monkeypatch: pytest.MonkeyPatch, load: float, threads: int, said: str
) -> None:
    monkeypatch.setattr(distributed, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert use_free_cores() == said and torch.get_num_threads() == threads
    assert use_free_cores() == ""  # nothing is lowered twice


def test_the_quickstart_tells_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickstart, "_step_seconds", lambda recipe: 0.12)
    recipes = quickstart.quickstart_recipes()
    torch.set_num_threads(1)
    assert quickstart.estimate(recipes.values()).startswith("about 5 to 7 minutes with 1 thread; ")


def test_parameters_are_drawn_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second thread costs more than the many small operations do, and stays busy while it waits."""
    drawing: list[int] = []
    draw = HorizontalFlip.sample

    def sample(self: HorizontalFlip, stream: Stream, size: tuple[int, int]) -> Params:
        drawing.append(torch.get_num_threads())
        return draw(self, stream, size)

    monkeypatch.setattr(HorizontalFlip, "sample", sample)
    Pipeline((HorizontalFlip(),)).sample(Stream.of(torch.arange(3)), (8, 8))
    assert drawing == [1] and torch.get_num_threads() == 8


def test_fewer_cores_than_the_machine_has_are_said_where_torch_counts_them_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Torch itself respects the affinity, so that nothing is lowered."""
    torch.set_num_threads(1)
    monkeypatch.setattr(distributed, "cpu_count", lambda: 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert limit_threads() == "threads=1: there is 1 core here"
    monkeypatch.setattr(distributed, "cpu_count", lambda: 2)
    assert limit_threads() == "", "one thread by the user's own choice"


def test_a_run_says_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(distributed, "cpu_count", lambda: 1)
    train(tiny(epochs=1, monitor_every=0), tmp_path / "run", Options(accelerator="cpu", loggers=()))
    assert torch.get_num_threads() == 1
    torch.set_num_threads(8)
    said = Options(accelerator="cpu", loggers=(), silent=False)
    train(tiny(epochs=1, monitor_every=0), tmp_path / "said", said)
    assert "threads=1: there is 1 core here" in capsys.readouterr().err
    assert QUIET.silent


CORES = "from equissl.distributed import available_cores; print(available_cores())"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs an affinity (Linux)")
def test_one_core_of_the_affinity() -> None:
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{one}}}); {CORES}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert available_cores() >= 1


def test_a_limit_of_the_cgroup(tmp_path: Path) -> None:
    """joblib reads these files; another version of it must go on doing so."""
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    code = f"""
import builtins, os
opened, exists, at = builtins.open, os.path.exists, "/sys/fs/cgroup/cpu.max"
builtins.open = lambda f, *a, **k: opened({str(tmp_path / "cpu.max")!r} if f == at else f, *a, **k)
os.path.exists = lambda f: f == at or exists(f)
os.cpu_count = lambda: 8
{CORES}"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_a_limit_that_is_no_number_ends_in_words() -> None:
    command = [sys.executable, "-m", "equissl", "doctor"]
    environment = os.environ | {"LOKY_MAX_CPU_COUNT": "many"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and "LOKY_MAX_CPU_COUNT=many must be a whole number" in done.stderr


@pytest.mark.parametrize(
    ("group", "files", "cores"),
    [
        ("0::/a.slice/b", {"a.slice/b/cpu.max": "150000 100000"}, 2),
        ("0::/a.slice/b", {"a.slice/cpu.max": "100000 100000", "a.slice/b/cpu.max": "max 100000"}, 1),
        ("4:cpu,cpuacct:/a", {"cpu,cpuacct/a/cpu.cfs_quota_us": "50000"}, 1),
        ("1:cpu:/a\n0::/", {"cpu/a/cpu.cfs_quota_us": "-1"}, sys.maxsize),
        ("3:cpuset:/a", {"cpuset/a/cpu.cfs_quota_us": "50000"}, sys.maxsize),
    ],
)
def test_a_limit_of_a_group_below_the_top(
    tmp_path: Path, group: str, files: dict[str, str], cores: int
) -> None:
    """Where systemd or a batch system put this process, not in a container of its own."""
    for name, text in {
        "proc/self/cgroup": group,
        **{f"sys/fs/cgroup/{n}": t for n, t in files.items()},
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
        if name.endswith("quota_us"):
            (tmp_path / name).with_name("cpu.cfs_period_us").write_text("100000\n")
    assert distributed._cores_of_own_groups(tmp_path) == cores
    assert distributed._cores_of_own_groups(tmp_path / "nowhere") == sys.maxsize


def test_waiting_threads_spin_for_a_moment_only() -> None:
    """The command sets it before torch is imported; a choice of the user's own stays."""
    code = (
        "import os, sys; from equissl.cli.main import main; main(['--version']); "
        "print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    )
    plain = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    for given, expected in (
        ({}, "10000"),
        ({"OMP_WAIT_POLICY": "active"}, "None"),
        ({"GOMP_SPINCOUNT": "5"}, "5"),
    ):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=plain | given)
        assert done.stdout.split()[-2:] == [expected, "False"]
