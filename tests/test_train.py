"""Training end to end on tiny data: it learns, stops, resumes bit for bit, and refuses what is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import equissl
from equissl.augment import native
from equissl.augment.base import Augmentation, Pipeline
from equissl.augment.color.color_jitter import ColorJitter
from equissl.augment.engine import resolve_engine
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.config.serialize import from_dict, to_dict
from equissl.data.image_folder import ImageFolder, write_images
from equissl.data.solids import Solids
from equissl.encoder.backbone import EncoderConfig
from equissl.equivariance.equimod import EquiMod
from equissl.errors import UserError
from equissl.invariance.byol import BYOL
from equissl.invariance.dino import DINO
from equissl.invariance.moco import MoCo
from equissl.invariance.simclr import SimCLR
from equissl.nn.predictors import Affine
from equissl.objective import BaseConfig
from equissl.params import Params, Space
from equissl.random import Stream
from equissl.recipe import Recipe, Weighted
from equissl.runs.folder import Run, open_run
from equissl.runs.load import load_encoder, load_run
from equissl.storage import read_json
from equissl.training import checkpoint
from equissl.training.loop import train
from equissl.training.optim import LARS, AdamW, WarmupCosine, parameter_groups
from equissl.training.options import Options
from equissl.views import ViewSpec

QUIET = Options(accelerator="cpu", loggers=(), log_every=1, silent=True)


def tiny(**changes: Any) -> Recipe:
    policy = Pipeline((RandomResizedCrop(16, scale=(0.5, 1.0)), ColorJitter()))
    recipe = Recipe(
        data=Solids(size=16, objects=24, views=2),
        views={"plain": ViewSpec(), "a": ViewSpec(policy), "b": ViewSpec(policy)},
        encoder=EncoderConfig(name="test_resnet", size=16),
        base=SimCLR.Config(projector=(16, 8)),
        modules={
            "equimod": Weighted(module=EquiMod.Config(projector=(16, 8), predictor=Affine(parameter_width=8)))
        },
        optimizer=AdamW(lr=1e-2),
        schedule=WarmupCosine(warmup_epochs=0.5),
        epochs=3,
        batch_size=16,
        monitor_every=1,
    )
    return replace(recipe, **changes)


def weights(run: Run) -> dict[str, Tensor]:
    state: dict[str, Tensor] = checkpoint.load(run.checkpoints)["model"]
    return state


def assert_same(a: Run, b: Run) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[k], second[k]) for k in first)
    moving = ("images_per_second", "data_wait", "augment_fraction")
    one, two = ([{k: v for k, v in r.items() if k not in moving} for r in x.log] for x in (a, b))
    assert one == two


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tiny(), tmp_path_factory.mktemp("straight") / "run", QUIET)


def test_it_learns(tmp_path: Path) -> None:
    recipe = tiny(epochs=12, modules={}, views={k: tiny().views[k] for k in ("a", "b")}, monitor_every=0)
    rows = train(recipe, tmp_path / "run", QUIET).log
    early, late = ([r["loss"] for r in rows][part] for part in (slice(0, 6), slice(-6, None)))
    assert sum(late) < sum(early) - 0.5


def test_the_run_folder_is_complete(straight: Run) -> None:
    names = {p.name for p in straight.path.iterdir()}
    assert names >= {"recipe.json", "environment.json", "log.jsonl", "checkpoints", "bad_images.csv"}
    engine = resolve_engine("auto")
    assert straight.recipe == replace(tiny(), engine=engine)  # settled when the run began
    environment = read_json(straight.path / "environment.json")
    assert environment["engine"] == engine
    assert environment["instruction_set"] == (native.instruction_set() if engine == "native" else None)
    row = straight.log[0]
    assert row["loss"] == pytest.approx(row["base/contrast"] + row["equimod/contrast"], rel=1e-5)
    monitors = [r for r in straight.log if "rank_me" in r]
    assert len(monitors) == 3 and all("probe/floor_hue" in r and "std" in r for r in monitors)


@pytest.mark.parametrize("stop", [1, 3, 4, 8])
def test_stopped_and_resumed_equals_straight_through(straight: Run, tmp_path: Path, stop: int) -> None:
    with pytest.raises(UserError, match=f"after step {stop} of 9.*resume"):
        train(tiny(), tmp_path / "run", replace(QUIET, stop_after=stop))
    assert_same(equissl.resume(tmp_path / "run", options=QUIET), straight)


@pytest.mark.parametrize(
    "base",
    [
        BYOL.Config(projector=(16, 8), predictor=(16, 8), momentum=0.9),
        MoCo.Config(projector=(16, 8), queue_size=40, momentum=0.9),  # 16 keys a step: it wraps between steps
        DINO.Config(projector=(16, 8), num_prototypes=12, momentum=0.9, freeze_prototypes=0.4),
    ],
    ids=["byol", "moco", "dino"],
)
def test_resumes_with_teacher_queue_and_center(tmp_path: Path, base: BaseConfig) -> None:
    recipe = tiny(base=base, optimizer=LARS(lr=0.2), epochs=2)
    whole = train(recipe, tmp_path / "whole", QUIET)
    with pytest.raises(UserError):
        train(recipe, tmp_path / "part", replace(QUIET, stop_after=4))
    assert_same(equissl.resume(tmp_path / "part", options=QUIET), whole)


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from test_train import QUIET, tiny
from equissl.training.loop import train
from dataclasses import replace
train(tiny(epochs=40, monitor_every=0), Path(sys.argv[1]), replace(QUIET, save_every=1))
"""


def test_killed_and_resumed_equals_straight_through(tmp_path: Path) -> None:
    """SIGKILL at a moment nobody chose."""
    script = SCRIPT.format(path=[str(Path(__file__).parent)])
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "killed")], env=environment)
    log = tmp_path / "killed" / "log.jsonl"
    deadline = time.monotonic() + 120
    while (not log.exists() or len(log.read_text().splitlines()) < 7) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = open_run(tmp_path / "killed")
    assert 0 < checkpoint.load(killed.checkpoints)["step"] < 120
    whole = train(tiny(epochs=40, monitor_every=0), tmp_path / "whole", QUIET)
    assert_same(equissl.resume(killed.path, options=QUIET), whole)


def test_a_signal_saves_between_two_steps(tmp_path: Path) -> None:
    script = SCRIPT.format(path=[str(Path(__file__).parent)]).replace("save_every=1", "save_every=0")
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "run")], stderr=subprocess.PIPE, text=True
    )
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 120
    while (not log.exists() or len(log.read_text().splitlines()) < 3) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert "everything is saved" in errors
    run = open_run(tmp_path / "run")
    assert checkpoint.load(run.checkpoints)["step"] == run.log[-1]["step"]


def test_more_epochs_are_safe_and_said(straight: Run, tmp_path: Path) -> None:
    run = train(tiny(epochs=1), tmp_path / "run", QUIET)
    said: list[str] = []
    equissl.resume(run.path, options=QUIET, say=said.append)
    assert "finished" in said.pop()
    prolonged = equissl.resume(run.path, {"epochs": "2"}, QUIET, say=said.append)
    assert "epochs 1 -> 2" in said[0] and "learning rate" in said[0]
    assert prolonged.recipe.epochs == 2 and checkpoint.load(prolonged.checkpoints)["epoch"] == 2


def test_any_other_change_is_refused_with_the_difference(straight: Run) -> None:
    with pytest.raises(UserError, match="batch_size: 16 -> 8"):
        equissl.resume(straight.path, {"batch_size": "8"}, QUIET)
    with pytest.raises(UserError, match="epochs=1: a run can only be prolonged"):
        equissl.resume(straight.path, {"epochs": "1"}, QUIET)


def test_a_damaged_checkpoint_is_named(straight: Run, tmp_path: Path) -> None:
    run = train(tiny(epochs=2, monitor_every=0), tmp_path / "run", replace(QUIET, save_every=1))
    last = run.checkpoints / "last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"last\.pt is damaged.*previous\.pt"):
        equissl.resume(run.path, options=QUIET)


def test_a_non_finite_loss_stops_with_step_and_term(tmp_path: Path) -> None:
    recipe = tiny(optimizer=AdamW(lr=1e30), schedule=WarmupCosine(warmup_epochs=0), epochs=4, monitor_every=0)
    with pytest.raises(UserError, match=r"not finite at step \d+ \(in .*base/contrast.*last good checkpoint"):
        train(recipe, tmp_path / "run", replace(QUIET, save_every=1))
    state = checkpoint.load(tmp_path / "run" / "checkpoints")
    assert all(v.isfinite().all() for v in state["model"].values() if v.is_floating_point())


def test_a_failed_start_leaves_nothing(tmp_path: Path) -> None:
    cases: dict[str, Recipe] = {
        "no model": tiny(encoder=EncoderConfig(name="resnet19", size=16)),
        "no images": tiny(data=ImageFolder(str(tmp_path / "missing"), size=16)),
        "unread view": tiny(modules={}),
        "too few": tiny(batch_size=1000),
        "parts": tiny(encoder=EncoderConfig(name="test_resnet", size=16, parts={"inv": 3})),
    }
    for name, recipe in cases.items():
        with pytest.raises(UserError):
            train(recipe, tmp_path / "runs" / name, QUIET)
    assert not (tmp_path / "runs").exists()


def test_an_existing_run_is_not_overwritten(straight: Run) -> None:
    with pytest.raises(UserError, match=r"already holds a run.*resume"):
        train(tiny(), straight.path, QUIET)


@dataclass(frozen=True)
class Swapped(Augmentation):
    """An augmentation from outside the package."""

    @property
    def space(self) -> Space:
        return Space()

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        return Params.of(Space(), {}, count=len(stream))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return images.flip(1)


def test_ones_own_encoder_and_augmentation(tmp_path: Path) -> None:
    recipe = tiny(epochs=1, monitor_every=0)
    policy = Pipeline((*recipe.views["a"].augment.steps, Swapped()))  # type: ignore[attr-defined]
    recipe = replace(recipe, views={**recipe.views, "a": ViewSpec(policy)})
    torch.manual_seed(0)
    own = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU())
    run = equissl.pretrain(recipe, tmp_path / "run", QUIET, backbone=own)
    package = Swapped.__module__.partition(".")[0]
    with pytest.raises(UserError, match=f"trust={package}"):
        _ = run.recipe
    settled = replace(recipe, engine=resolve_engine("auto"))
    assert to_dict(run.read_recipe((package,))) == to_dict(settled)
    assert equissl.audit(own, torch.rand(60, 3, 16, 16), count=60, factors=("brightness",))


def test_images_from_a_folder_and_bad_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path / "photos", {"x": 20, "y": 21})
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"")
    recipe = tiny(
        data=ImageFolder(str(tmp_path / "photos"), size=16, max_bad_fraction=0.1), epochs=1, monitor_every=0
    )
    run = train(recipe, tmp_path / "run", replace(QUIET, silent=False))
    assert "skipped: 1 image that cannot be used, listed in" in capsys.readouterr().err
    assert "broken.jpg" in (run.path / "bad_images.csv").read_text()
    loaded = load_run(run)
    assert loaded.encoder(torch.rand(1, 3, 16, 16)).vector.shape[1] == loaded.encoder.width()


def test_recipes_round_trip_through_json() -> None:
    recipe = tiny()
    assert from_dict(json.loads(json.dumps(to_dict(recipe))), Recipe) == recipe


def test_every_parameter_is_in_one_group() -> None:
    model = tiny().build(tiny().data.spaces)
    groups = parameter_groups(model, ["base."])
    everything = [p for g in groups for p in g["params"]]
    assert len(everything) == len(set(everything)) == len(list(model.parameters()))
    assert {(g["matrix"], g["fixed_lr"]) for g in groups} == {(a, b) for a in (0, 1) for b in (0, 1)}


def test_lower_precision_and_clipping(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At 48 pixels no stride is larger than the map it sees, so nothing is warned of."""
    policy = Pipeline((RandomResizedCrop(48), ColorJitter()))
    recipe = tiny(
        data=Solids(size=48, objects=24, views=1),
        views={"plain": ViewSpec(), "a": ViewSpec(policy), "b": ViewSpec(policy)},
        encoder=EncoderConfig(name="test_resnet", size=48),
        precision="bf16-mixed",
        clip_gradient=1.0,
        monitor_every=0,
    )
    rows = train(recipe, tmp_path / "run", replace(QUIET, silent=False)).log
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert "warning" not in capsys.readouterr().err


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    recipe = tiny(optimizer=AdamW(lr=1e30), schedule=WarmupCosine(warmup_epochs=0), monitor_every=0)
    with pytest.raises(UserError, match="not finite"):
        train(recipe, tmp_path / "run", replace(QUIET, log_every=10, save_every=1))
    state = checkpoint.load(tmp_path / "run" / "checkpoints")
    assert all(v.isfinite().all() for v in state["model"].values() if v.is_floating_point())


def test_changed_data_is_noticed(tmp_path: Path) -> None:
    write_images(tmp_path / "photos", {"x": 40})
    recipe = tiny(data=ImageFolder(str(tmp_path / "photos"), size=16), monitor_every=0)
    with pytest.raises(UserError, match="interrupted"):
        train(recipe, tmp_path / "run", replace(QUIET, stop_after=1))
    for file in sorted((tmp_path / "photos").rglob("*.png"))[:10]:
        file.unlink()
    with pytest.raises(UserError, match="the data is no longer"):
        equissl.resume(tmp_path / "run", options=QUIET)


TWO = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from dataclasses import replace
from test_train import QUIET, tiny
from equissl.training.loop import train
if __name__ == "__main__":
    train(tiny(epochs=3), Path(sys.argv[1]), replace(QUIET, devices=2, log_every=4))
"""


def test_two_processes_train_probe_and_log(tmp_path: Path) -> None:
    """``log_every`` does not divide the steps of an epoch, so a probe falls between two logged rows."""
    script = tmp_path / "two.py"
    script.write_text(TWO.format(path=[str(Path(__file__).parent)]))
    subprocess.run(
        [sys.executable, str(script), str(tmp_path / "run")], check=True, timeout=600, capture_output=True
    )
    run = open_run(tmp_path / "run")
    rows = [r for r in run.log if "loss" in r]
    assert [r["step"] for r in rows] == [4, 8, 9] and checkpoint.load(run.checkpoints)["world_size"] == 2


def test_a_run_folder_cannot_execute_other_code(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    attempts = [
        {"is": "equissl.runs.folder:subprocess.run", "args": ["touch", str(marker)]},
        {"is": "subprocess:run", "args": ["touch", str(marker)]},
        {"is": "equissl.runs.folder:Path", "args": []},
    ]
    for plain in attempts:
        with pytest.raises(UserError):
            from_dict(plain, Recipe)
    run = train(tiny(epochs=1, monitor_every=0), tmp_path / "run", QUIET)
    plain = json.loads((run.path / "recipe.json").read_text())
    plain["encoder"] |= {"name": "subprocess:run", "options": {"args": ["touch", str(marker)]}}
    (run.path / "recipe.json").write_text(json.dumps(plain))
    with pytest.raises(UserError, match="trust=subprocess"):
        load_encoder(str(run.path))
    assert not marker.exists()


def test_functions_stay_functions_after_everything_is_imported() -> None:
    import equissl.api.audit
    import equissl.evaluate.audit.audit

    for name in equissl.__all__:
        assert callable(getattr(equissl, name)), name
