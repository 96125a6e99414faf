"""A run folder can always be resumed, exactly, or says why not; its log holds one row per step and kind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from test_train import QUIET, assert_same, tiny

import equissl
from equissl import storage, temporary
from equissl.api import quickstart as quick
from equissl.cli.main import main
from equissl.data.image_folder import ImageFolder, write_images
from equissl.errors import Stopped, UserError
from equissl.runs import folder as run_folder
from equissl.runs.folder import Run
from equissl.runs.load import load_encoder
from equissl.training import checkpoint, loop
from equissl.training.callbacks import CheckpointCallback, MonitoringCallback
from equissl.training.loop import train
from equissl.training.options import Options


class Killed(BaseException):
    """Stands for SIGKILL at a chosen moment."""


def small(**changes: Any) -> Any:
    return tiny(modules={}, views={k: tiny().views[k] for k in ("a", "b")}, **changes)


def begun(tmp_path: Path, **changes: Any) -> Run:
    """A run that was stopped after its second step."""
    with pytest.raises(Stopped):
        train(small(epochs=2, monitor_every=0, **changes), tmp_path / "run", replace(QUIET, stop_after=2))
    return Run(tmp_path / "run")


def test_killed_before_the_first_checkpoint_leaves_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every file that is written: either there is no run folder, or it has a checkpoint."""
    write, count = storage.atomic_path, 0
    for last in range(1, 12):
        count, out = 0, tmp_path / str(last)

        def counted(*arguments: Any, last: int = last, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == last:
                raise Killed
            return write(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(storage, "atomic_path", counted)
            with contextlib.suppress(Killed, Stopped):
                train(small(epochs=1, monitor_every=0), out, replace(QUIET, stop_after=1))
        if out.exists():
            assert last > 4 and (out / "recipe.json").exists()
            assert checkpoint.load(out / "checkpoints")["step"] <= 1
            return
        assert not list(tmp_path.glob(".*"))
    raise AssertionError("it was never written")


def test_a_full_disk_at_the_start_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(UserError, match="the disk is full"):
            train(small(epochs=1), tmp_path / "run", QUIET)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_later_keeps_the_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begun(tmp_path)
    before = {p.name: p.read_bytes() for p in run.checkpoints.iterdir()}

    def full(state: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(
            UserError, match=r"last\.pt' was not written.*disk is full.*`equissl resume .*run`"
        ):
            equissl.resume(run.path, options=replace(QUIET, save_every=1))
    assert {p.name: p.read_bytes() for p in run.checkpoints.iterdir()} == before
    assert equissl.resume(run.path, options=QUIET).log


def test_a_run_without_its_checkpoints_says_what_to_do(tmp_path: Path) -> None:
    run = begun(tmp_path)
    shutil.rmtree(run.checkpoints)
    with pytest.raises(UserError, match=r"no checkpoint in .*Delete .*run and start the run again"):
        equissl.resume(run.path, options=QUIET)


def test_quickstart_goes_on_after_being_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while the first run folder is made, then in its first step."""
    recipes = {n: small(epochs=1, monitor_every=0) for n in ("invariant", "equivariant")}
    scored: list[Path] = []
    monkeypatch.setattr(quick, "quickstart_recipes", lambda seed: recipes)
    monkeypatch.setattr(quick, "_evaluate", lambda folder, *rest: scored.append(folder))
    monkeypatch.setattr(quick.report, "write", lambda folders, page: page)

    def killed(*arguments: Any, **options: Any) -> None:
        raise Killed

    for place, name in ((run_folder, "write_bad_images"), (loop, "training_step")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, killed)
            with pytest.raises(Killed):
                quick.quickstart(tmp_path / "quick")
    assert quick.quickstart(tmp_path / "quick") == [tmp_path / "quick" / n for n in recipes] == scored


def test_one_row_per_step_and_kind_wherever_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside logging, saving and monitoring, twice in a row at the same place."""
    options = replace(QUIET, save_every=1)
    whole = train(small(epochs=2), tmp_path / "whole", options)
    parts = [
        (CheckpointCallback, "after_step"),
        (MonitoringCallback, "after_epoch"),
    ]
    for cls, name in parts:
        out = tmp_path / f"{cls.__name__}-{name}"
        for stop in (3, 3, 6):  # the last batch of the first epoch, again, and of the second
            with monkeypatch.context() as patch, contextlib.suppress(Killed):
                patch.setattr(cls, name, killed_after(getattr(cls, name), stop))
                if (out / "recipe.json").exists():
                    equissl.resume(out, options=options)
                else:
                    train(small(epochs=2), out, options)
        run = equissl.resume(out, options=options)
        rows = [(row["step"], "loss" in row) for row in run.log]
        assert len(rows) == len(set(rows))
        assert_same(run, whole)


def killed_after(method: Callable[..., None], step: int) -> Callable[..., None]:
    def call(self: Any, state: Any, *rest: Any) -> None:
        method(self, state, *rest)
        if state.step == step:
            raise Killed

    return call


@pytest.mark.parametrize("setting", ["optimizer.lr", "seed"])
def test_an_edited_recipe_is_refused(tmp_path: Path, setting: str) -> None:
    run = begun(tmp_path)
    stored = json.loads((run.path / "recipe.json").read_text())
    place = stored["optimizer"] if "." in setting else stored
    place[setting.rpartition(".")[2]] = 7
    (run.path / "recipe.json").write_text(json.dumps(stored))
    message = rf"recipe\.json was changed after the run began: {setting}: .* -> 7.*put the old values back"
    with pytest.raises(UserError, match=message):
        equissl.resume(run.path, options=QUIET)
    with pytest.raises(UserError, match=message):
        load_encoder(str(run.path))


def test_one_flipped_bit_is_refused_wherever_it_is_read(tmp_path: Path) -> None:
    run = begun(tmp_path)
    exported = equissl.export(run.path, tmp_path / "export")
    last = run.checkpoints / "last.pt"
    model = checkpoint.load(run.checkpoints)["model"]
    values = next(v for n, v in model.items() if n.endswith("running_mean") and v.numel() >= 16)
    flip(last, values)
    shutil.copy(last, run.checkpoints / "previous.pt")
    for read in (equissl.resume, equissl.export, lambda path: load_encoder(str(path))):
        with pytest.raises(UserError, match=r"last\.pt is damaged .*digest.*cp .*previous\.pt .*last\.pt"):
            read(run.path)
    flip(exported / "model.safetensors", values)
    with pytest.raises(UserError, match=r"model\.safetensors is damaged.*export"):
        load_encoder(str(exported))


def flip(path: Path, values: torch.Tensor) -> None:
    """Flip one bit of a tensor in a file."""
    content = bytearray(path.read_bytes())
    content[content.index(values.contiguous().numpy().tobytes()[:64]) + 40] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("memory_gb", [2.0, 0.0], ids=["resident", "streamed"])
def test_changed_images_are_refused_and_moved_ones_are_not(
    tmp_path: Path, memory_gb: float, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "photos", {"x": 40})
    data = ImageFolder(str(tmp_path / "photos"), size=16, memory_gb=memory_gb)
    run = begun(tmp_path, data=data)
    image = tmp_path / "photos" / "x" / "0.png"
    before, content = image.stat(), image.read_bytes()
    with Image.open(image) as original:
        changed = original.transpose(Image.Transpose.ROTATE_180)
    changed.save(image)
    with pytest.raises(UserError, match="the data is no longer"):
        equissl.resume(run.path, options=QUIET)
    image.write_bytes(content)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    shutil.move(tmp_path / "photos", tmp_path / "moved")
    other = run.path / "environment.json"
    facts = json.loads(other.read_text())
    facts["versions"]["torch"] = "1.0"
    other.write_text(json.dumps(facts))
    code = main(["resume", str(run.path), f"data.path={tmp_path / 'moved'}", "loggers=[]", "device=cpu"])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "torch 1.0 began this run" in said.out
    stored = run.recipe.data
    assert isinstance(stored, ImageFolder) and stored.path == str(tmp_path / "moved")
    assert checkpoint.load(run.checkpoints)["epoch"] == 2


def test_a_resumed_run_keeps_its_options(tmp_path: Path) -> None:
    options = Options(
        loggers=("wandb", "tensorboard"), log_every=3, save_every=2, stop_after=4, accelerator="cpu"
    )
    environment = {"options": options.stored()}
    kept = Options.kept(json.loads(json.dumps(environment)))
    assert kept == Options(loggers=("tensorboard",), log_every=3, save_every=2)
    assert Options.kept({}) == Options()


@pytest.mark.parametrize("damaged", [5, {"is": "equissl:Options", "log_every": "x"}, {"is": "os:system"}])
def test_damaged_options_are_refused(damaged: object) -> None:
    with pytest.raises(UserError, match="options"):
        Options.kept({"options": damaged})


def test_resuming_a_finished_run_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    run = train(tiny(epochs=1), tmp_path / "run", QUIET)
    left = run.path / f".bad_images.csv.{temporary._host()}-999999999-1-0.part"
    left.touch()
    temporary._cleaned.clear()  # as in a new process
    equissl.resume(run.path)
    assert not left.exists()
