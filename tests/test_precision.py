"""precision=auto: what is chosen, that the trial changes nothing, and that a run keeps the choice."""

from __future__ import annotations

import copy
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from objective_cases import BASES, MODULES, surroundings
from test_train import QUIET, assert_same, tiny
from torch import nn

from equissl.api.pretrain import resume
from equissl.augment.base import Pipeline
from equissl.augment.color.color_jitter import ColorJitter
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.data.solids import Solids
from equissl.encoder.backbone import EncoderConfig
from equissl.encoder.encoder import Encoder
from equissl.errors import NonFiniteError, Stopped, UserError
from equissl.invariance.simclr import SimCLR
from equissl.model import Model
from equissl.recipe import Recipe
from equissl.runs.changes import run_differences
from equissl.storage import read_json, write_json
from equissl.study import runner
from equissl.study.plan import Job
from equissl.testing.objective import tiny_batch, tiny_encoder, tiny_views
from equissl.training import precision
from equissl.training.loop import train
from equissl.training.precision import choose_precision, overstrided, without_trial
from equissl.views import View, make_views


def views_of(count: int) -> dict[str, View]:
    return make_views(tiny_batch(count), tiny_views(), 0)


def simclr(encoder: Encoder | None = None) -> Model:
    encoder = encoder or tiny_encoder()
    spaces = {name: spec.space(tiny_batch(1).params["image"].space) for name, spec in tiny_views().items()}
    torch.manual_seed(0)
    return Model(encoder, SimCLR.Config(projector=(16, 8)).build(encoder, spaces), {}, {}, ["a", "b"])


def recipe(**changes: object) -> Recipe:
    """Maps above 1x1 in every layer of the encoder."""
    policy = Pipeline((RandomResizedCrop(32), ColorJitter()))
    encoder = EncoderConfig(name="test_resnet", size=32, stem="small")
    views = dict.fromkeys(("plain", "a", "b"), replace(tiny().views["a"], augment=policy))
    return tiny(
        data=Solids(size=32, objects=24, views=1), views=views, encoder=encoder, monitor_every=0, **changes
    )


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[bool, float]:
    """Seconds of a step in float32 (False) and in bfloat16 (True), in place of measured ones."""
    seconds = {False: 1.0, True: 1.0}

    def step(model: Model, views: object, half: bool) -> float:
        precision._backward(model, views, half)  # type: ignore[arg-type]
        return seconds[half]

    monkeypatch.setattr(precision, "_step", step)
    monkeypatch.setattr(precision, "SECONDS", 0.0)
    return seconds


@pytest.mark.parametrize(("half", "chosen"), [(0.5, "bf16-mixed"), (0.86, "bf16-mixed"), (0.88, "32-true")])
def test_bfloat16_must_gain_15_percent(times: dict[bool, float], half: float, chosen: str) -> None:
    times[True] = half
    choice = choose_precision(simclr(), views_of, 8)
    assert choice.precision == chosen and f"{1 / half:.2f} times as fast" in choice.reason
    assert ("1.15 is needed" in choice.reason) == (chosen == "32-true")


@pytest.mark.parametrize(("load", "threads", "said"), [(3.0, 2, True), (3.0, 1, False), (1.0, 2, False)])
def test_a_slower_bfloat16_and_busy_cores_are_said(
    times: dict[bool, float], monkeypatch: pytest.MonkeyPatch, load: float, threads: int, said: bool
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    times[True] = 10.0
    choice = choose_precision(simclr(), views_of, 8)
    assert choice.precision == "32-true"
    assert "a step in bfloat16 takes 10.0 times as long as in float32" in choice.reason
    assert ("(load 3.0), OMP_NUM_THREADS=1 may be faster" in choice.reason) == said


def test_float16_on_a_cpu_is_refused_before_a_run_begins(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"precision=16-mixed needs CUDA.*set precision=bf16-mixed"):
        train(recipe(precision="16-mixed"), tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()


def test_batches_grow_until_a_step_can_be_measured(times: dict[bool, float]) -> None:
    sizes: list[int] = []

    def counted(count: int) -> dict[str, View]:
        sizes.append(count)
        return views_of(count)

    times[False] = precision.MIN_STEP / 10
    choose_precision(simclr(), counted, 24)
    assert sizes == [4, 8, 16, 24]


@pytest.mark.parametrize(("stride", "found"), [(2, ["encoder.backbone.2"]), (1, [])])
def test_a_stride_larger_than_the_map_keeps_float32(
    times: dict[bool, float], stride: int, found: list[str]
) -> None:
    times[True] = 0.1
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 3, stride, 1), nn.Flatten()
    )
    model = simclr(Encoder(backbone, probe=(3, 16, 16)))
    assert overstrided(model, views_of(2)) == found
    choice = choose_precision(model, views_of, 8)
    assert choice.precision == ("32-true" if found else "bf16-mixed")
    assert ("backbone.2 has a stride larger" in choice.reason) == bool(found)


class Half(nn.Module):
    """Fails, or gives a gradient that is not finite, in bfloat16 alone."""

    def __init__(self, problem: str):
        super().__init__()
        self.layer, self.problem = nn.Linear(3 * 16 * 16, 8), problem

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layer(images.flatten(1))
        if features.dtype == torch.bfloat16 and self.problem == "raises":
            raise RuntimeError("not implemented for bfloat16")
        return features * torch.inf if features.dtype == torch.bfloat16 else features


@pytest.mark.parametrize(("problem", "said"), [("raises", "bfloat16 fails here"), ("inf", "not finite")])
def test_what_fails_in_bfloat16_keeps_float32(times: dict[bool, float], problem: str, said: str) -> None:
    times[True] = 0.1
    choice = choose_precision(simclr(Encoder(Half(problem), probe=(3, 16, 16))), views_of, 8)
    assert choice.precision == "32-true" and said in choice.reason


class WholeBatch(nn.Module):
    """Takes no fewer images than a batch has, while it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 16 * 16, 8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training and len(images) < 32:
            raise ValueError(f"expected 32 images, got {len(images)}")
        features: torch.Tensor = self.layer(images.flatten(1))
        return features


def test_a_model_that_takes_no_smaller_batch_is_trained_in_float32(tmp_path: Path) -> None:
    encoder = Encoder(WholeBatch(), probe=(3, 16, 16))
    run = train(tiny(precision="auto", epochs=1, monitor_every=0), tmp_path / "run", QUIET, encoder=encoder)
    assert read_json(run.path / "recipe.json")["precision"] == "32-true"


def test_a_trial_that_runs_out_of_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Model:
        raise MemoryError

    monkeypatch.setattr(copy, "deepcopy", full)
    with pytest.raises(MemoryError):
        choose_precision(simclr(), views_of, 8)


class ByKeyword(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layer(input=images)
        return features.mean((2, 3))


def test_a_convolution_may_be_called_by_keyword() -> None:
    model = simclr(Encoder(ByKeyword(), probe=(3, 16, 16)))
    assert overstrided(model, views_of(2)) == []


@pytest.mark.parametrize("name", [*BASES, *MODULES])
def test_every_objective_can_be_tried(times: dict[bool, float], name: str) -> None:
    times[True] = 0.5
    config = (BASES | MODULES)[name]
    make, specs = surroundings(name)
    encoder = make()
    spaces = {n: spec.space(tiny_batch(1).params["image"].space) for n, spec in specs.items()}
    part = config.build(encoder, spaces)
    base, modules = (part, {}) if name in BASES else (None, {"module": part})
    model = Model(encoder, base, modules, dict.fromkeys(modules, 1.0), list(specs))  # type: ignore[arg-type]
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    choice = choose_precision(model, lambda count: make_views(tiny_batch(count), specs, 0), 8)
    assert choice.precision == "bf16-mixed", choice.reason
    assert torch.equal(state, torch.get_rng_state())
    after = model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before if isinstance(before[k], torch.Tensor))
    assert all(p.grad is None for p in model.parameters())


def test_a_run_keeps_what_was_chosen(
    times: dict[bool, float],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    times[True] = 0.5
    auto = recipe(precision="auto")
    run = train(auto, tmp_path / "auto", replace(QUIET, silent=False))
    assert "precision=bf16-mixed: a step in bfloat16 is 2.00 times as fast" in capsys.readouterr().err
    assert not [r for r in caplog.records if r.name.startswith("lightning_fabric")]
    assert read_json(run.path / "recipe.json")["precision"] == "bf16-mixed"
    assert not run_differences(run, auto) and run_differences(run, recipe(precision="32-true"))
    # The trial changes nothing of the run.
    assert_same(run, train(recipe(precision="bf16-mixed"), tmp_path / "named", QUIET))
    times[True] = 2.0
    with pytest.raises(Stopped):
        train(recipe(precision="bf16-mixed"), tmp_path / "stopped", replace(QUIET, stop_after=2))
    assert_same(run, resume(tmp_path / "stopped", options=QUIET))
    same = train(auto, tmp_path / "float32", QUIET)
    assert read_json(same.path / "recipe.json")["precision"] == "32-true"
    assert_same(same, train(recipe(), tmp_path / "default", QUIET))


def test_bfloat16_that_is_asked_for_warns_of_wrong_gradients(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shrinking = EncoderConfig(name="test_resnet", size=16)
    recipe = tiny(encoder=shrinking, precision="bf16-mixed", epochs=1, monitor_every=0)
    with suppress(NonFiniteError):
        train(recipe, tmp_path / "run", replace(QUIET, silent=False))
    assert "warning: precision=bf16-mixed on a CPU: encoder.backbone.layer" in capsys.readouterr().err


def test_no_trial_where_none_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert without_trial("cpu") is None
    several = without_trial("cpu", 2)
    assert several is not None and several.precision == "32-true"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    old = without_trial("cuda:0")
    assert old is not None and old.precision == "32-true"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    new = without_trial("cuda", 4)
    assert new is not None and new.precision == "bf16-mixed"


def test_the_runs_of_a_study_share_what_the_first_settled(tmp_path: Path) -> None:
    jobs = [Job(f"cell-seed{seed}", {"cell": "cell"}, recipe(precision="auto", seed=seed)) for seed in (0, 1)]
    assert runner._with_precision(jobs[0], jobs, tmp_path) == jobs[0]
    (tmp_path / "runs" / "cell-seed0").mkdir(parents=True)
    write_json(tmp_path / "runs" / "cell-seed0" / "recipe.json", {"precision": "bf16-mixed"})
    second = runner._with_precision(jobs[1], jobs, tmp_path).recipe
    assert second == recipe(precision="bf16-mixed", seed=1)
    named = Job("other-seed0", {"cell": "other"}, recipe())
    assert runner._with_precision(named, [*jobs, named], tmp_path) == named


def test_clear_trials_end_early() -> None:
    assert precision._is_clear([0.5, 0.9, 0.99]) and precision._is_clear([1.4, 2.0, 1.33])
    assert not precision._is_clear([0.9, 1.05, 0.8]) and not precision._is_clear([1.2, 2.0, 1.5])
