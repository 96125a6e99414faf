"""``benchmarks/gpu/run.sh`` without a GPU: every part runs, at tiny sizes, and a second call goes on."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from equissl.errors import Stopped, UserError
from equissl.params import Space
from equissl.runs.folder import environment
from equissl.training.optim import LARS, SGD

ROOT = Path(__file__).resolve().parents[1]
KIT = ROOT / "benchmarks" / "gpu"
LEGS = ("simclr", "simclr_equimod", "essl")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"gpu_kit_{name}", KIT / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*words: str, out: Path, carry: Path) -> str:
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "OUT": str(out), "CARRY": str(carry), "PATH": paths}
    done = subprocess.run(
        ["bash", str(KIT / "run.sh"), *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / "results.json").read_text())["rows"]
    return found


def test_what_to_carry_is_said(tmp_path: Path) -> None:
    said = run("what", out=tmp_path / "out", carry=tmp_path / "carry")
    assert "at most 64 MiB" in said and "lightning-fabric" in said and "cifar10-jpeg.tar.xz" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", LEGS)
def test_a_checkpoint_is_small_enough_to_be_carried(name: str) -> None:
    legs = load("legs")
    recipe = legs.narrow(legs.LEGS[name]())
    assert isinstance(recipe.optimizer, LARS | SGD), "one buffer for each parameter"
    model = recipe.build({"image": Space()})
    size = sum(4 * p.numel() for p in model.parameters()) * 2 + sum(4 * b.numel() for b in model.buffers())
    assert size < 0.95 * legs.MAX_CHECKPOINT


def test_a_python_without_torch_is_refused_in_words(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    lines = "Traceback (most recent call last):\\nModuleNotFoundError: No module named 'torch'\\n"
    python.write_text(f'#!/bin/sh\ncase "$*" in *torch*) printf "{lines}" >&2; exit 1;; esac\n')
    python.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "OUT": str(tmp_path / "out")}
    command = ["bash", str(KIT / "run.sh"), "0.1"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    assert "No module named 'torch'" in done.stdout and "uv run bash benchmarks/gpu/run.sh" in done.stdout


def test_code_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", none)
    assert set(environment()["versions"].values()) == {"not installed"}


@pytest.mark.parametrize("minutes", ["nan", "inf", "-1", "soon"])
def test_minutes_that_are_none_are_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], minutes: str
) -> None:
    monkeypatch.syspath_prepend(str(KIT))
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    monkeypatch.setenv("CARRY", str(tmp_path / "carry"))
    assert load("kit").main(minutes) == 2
    assert f"minutes={minutes}: expected a number" in capsys.readouterr().out


def test_results_lie_below_the_folder_of_the_call(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "broken-1.whl").write_bytes(b"no archive")
    environment = {**os.environ, "OUT": "out", "CARRY": "mine"}
    done = subprocess.run(
        ["bash", str(KIT / "run.sh"), "what"], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and f"Put into {tmp_path / 'mine'}" in done.stdout
    assert f"{tmp_path / 'mine' / 'broken-1.whl'} cannot be unpacked" in done.stdout and not done.stderr


def test_random_images_are_not_taken_for_those_of_the_archive(tmp_path: Path) -> None:
    legs, scratch, archive = load("legs"), tmp_path / "scratch", tmp_path / "cifar10-jpeg.tar.xz"
    assert legs.images(archive, scratch, tiny=True).path == str(scratch / "random")
    archive.write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be unpacked"):
        legs.images(archive, scratch, tiny=False)
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(scratch / "random", "other")
    with pytest.raises(UserError, match="no folder train"):
        legs.images(archive, scratch, tiny=False)
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(scratch / "random", "train")
    assert legs.images(archive, scratch, tiny=False).path == str(scratch / "cifar10")
    assert sorted(path.name for path in scratch.iterdir()) == ["cifar10", "random"]


def test_legs_go_on_and_say_what_stops_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    legs, out, earlier = load("legs"), tmp_path / "new" / "runs" / "simclr", tmp_path / "old" / "simclr"
    recipe = legs.leg("simclr", legs.images(tmp_path / "none", tmp_path / "scratch", True), True, "torch")
    with pytest.raises(UserError, match="too short to begin"):
        legs.run_leg(recipe, earlier, tmp_path / "none", 0.0)
    assert legs.run_leg(recipe, earlier, tmp_path / "none", 60, 1)["step"] == 1

    def killed(source: Path, target: Path) -> Path:
        target.mkdir()
        (target / "recipe.json").write_text("{}")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(legs.shutil, "copytree", killed)
        with pytest.raises(KeyboardInterrupt):
            legs.run_leg(recipe, out, earlier, 60, 1)
    found = legs.run_leg(recipe, out, earlier, 60, 1)
    assert found["resumed"] and found["step"] == 2 and found["recipe"]["precision"] == "32-true"

    @contextmanager
    def stopped(seconds: float, is_up: threading.Event) -> Iterator[None]:
        os.kill(os.getpid(), signal.SIGTERM)
        yield

    with monkeypatch.context() as patch:
        patch.setattr(legs, "stopped_after", stopped)
        with pytest.raises((Stopped, KeyboardInterrupt)):
            legs.run_leg(recipe, out, earlier, 60, 0)
    (out / "checkpoints" / "last.pt").write_bytes(b"damaged")
    with pytest.raises(UserError, match=f"damaged.*remove {out} to begin this leg again"):
        legs.run_leg(recipe, out, earlier, 60, 1)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="a rehearsal, for machines without a GPU")
def test_a_rehearsal_and_one_that_goes_on(tmp_path: Path) -> None:
    first, second, carry = tmp_path / "first", tmp_path / "second", tmp_path / "carry"
    said = run("0.2", out=first, carry=carry)
    assert said.count("no CUDA device: a rehearsal on the CPU") == 1
    found = rows(first)
    assert not [r for r in found if r["name"] in ("failed", "skipped")], found
    assert {r["part"] for r in found} == {"environment", "tests", "augmentation", "step", *LEGS}
    assert [r["value"] for r in found if r["part"] == "tests"] == [0]
    assert {r["part"]: r["value"] for r in found if r["name"] == "step"} == dict.fromkeys(LEGS, 2)
    check_imports(json.loads((first / "results.json").read_text())["imported"])
    lines = (first / "results.md").read_text().splitlines()
    assert len([line for line in lines if line.startswith("|")]) == len(found) + 2

    carry.mkdir()
    (first / "runs").rename(carry / "runs")
    run("0.2", out=second, carry=carry)
    found = rows(second)
    assert {r["part"]: r["value"] for r in found if r["name"] == "step"} == dict.fromkeys(LEGS, 4)

    run("0", out=tmp_path / "third", carry=carry)
    skipped = [r for r in rows(tmp_path / "third") if r["name"] == "skipped"]
    assert len(skipped) == 6 and all("the time is up" in r["note"] for r in skipped)


def check_imports(imported: list[str]) -> None:
    """All that a call imports is carried, or comes with torch and torchvision."""
    carried = load("carried")
    packages = metadata.packages_distributions()
    known = {d.lower().replace("_", "-") for d in (*carried.WHEELS.values(), *carried.OPTIONAL.values())}
    known |= needed("torch") | needed("torchvision") | {"equissl"}
    known |= {"psutil"}  # joblib looks for it and does without
    names = {d.lower().replace("_", "-") for module in imported for d in packages.get(module, ["(none)"])}
    assert not names - known - {"(none)"}


def needed(package: str) -> set[str]:
    """A package and all that it requires, by name."""
    found, queue = set(), [package]
    while queue:
        name = queue.pop()
        if name in found:
            continue
        found.add(name)
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        plain = [r for r in requirements if "extra ==" not in r]
        queue += [re.split(r"[^A-Za-z0-9._-]", r)[0].lower().replace("_", "-") for r in plain]
    return found
