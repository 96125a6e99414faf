"""The step that produced a loss that is not finite can be made again, and says where it began."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_train import QUIET, tiny
from torch import Tensor, nn

import equissl
from equissl.augment.record import recompute
from equissl.cli.main import main
from equissl.data.image_folder import ImageFolder, write_images
from equissl.errors import NonFiniteError, UserError
from equissl.runs.folder import Run
from equissl.training.loop import train
from equissl.training.optim import SGD, WarmupCosine
from equissl.training.replay import check_step


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("replay")
    write_images(folder / "photos", {"x": 48})
    recipe = tiny(data=ImageFolder(str(folder / "photos"), size=16, test_fraction=0.0), monitor_every=0)
    return train(recipe, folder / "run", replace(QUIET, save_every=2))


@pytest.mark.parametrize("step", [1, 4, 8, 9])
def test_a_replayed_step_is_that_of_the_run(run: Run, step: int) -> None:
    """Also one before every checkpoint that is left, from the weights that the run began with."""
    warnings.simplefilter("error")  # torch warns of its detection of anomalies; pytest restores the filters
    logged = next(r for r in run.log if r["step"] == step)
    before = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
    found = equissl.replay_step(run.path, step)
    assert {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()} == before
    assert {n: pytest.approx(logged[n], rel=1e-6) for n in found.terms} == found.terms
    assert found.not_finite == () and found.checkpoint == (8 if step == 9 else 0)
    assert (found.epoch, found.batch, found.batches) == ((step - 1) // 3, (step - 1) % 3, 3)
    recipe, columns = run.recipe, found.table.columns
    index = [k for k, view in zip(columns["image"], columns["view"], strict=True) if view == "a"]
    drawn = recompute(recipe.views["a"].augment, recipe.seed, found.epoch, index, "a", (16, 16))
    hues = [h for h, view in zip(columns["hue"], columns["view"], strict=True) if view == "a"]
    assert hues == pytest.approx(drawn.values["hue"][:, 0].tolist())
    assert set(columns["file"]) <= {f"x/{k}.png" for k in range(48)}


def test_the_message_suggests_it_and_it_finds_the_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny(optimizer=SGD(lr=1e6), schedule=WarmupCosine(warmup_epochs=0), monitor_every=0)
    with pytest.raises(NonFiniteError) as caught:
        train(recipe, tmp_path / "run", QUIET)
    suggested = re.search(r"`equissl (replay-step) (\S+) step=(\d+)`", str(caught.value))
    assert suggested and suggested[2] == str(tmp_path / "run")
    words = [suggested[1], suggested[2], f"step={suggested[3]}", f"out={tmp_path / 'views.csv'}"]
    assert main([*words, "device=cpu"]) == 0
    said = capsys.readouterr().out
    assert f"step {suggested[3]}: epoch" in said and "not finite: " in said
    assert len((tmp_path / "views.csv").read_text(encoding="utf-8").splitlines()) == 1 + 3 * 16


def test_the_first_module_is_named(tmp_path: Path) -> None:
    class Logarithm(nn.Module):
        """NaN for features below 0."""

        def forward(self, x: Tensor) -> Tensor:
            return (x - 10).log()

    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3, 2), Logarithm(), nn.ReLU())

    with pytest.raises(NonFiniteError, match=r"loss is not finite at step 1 .*step=1`"):
        equissl.pretrain(tiny(epochs=1, monitor_every=0), tmp_path / "run", QUIET, backbone=network())
    found = equissl.replay_step(tmp_path / "run", 1, backbone=network())
    assert found.not_finite[0] == "output of encoder.backbone.1 (Logarithm)"
    assert any(name.startswith("backward: Function") for name in found.not_finite)


def test_a_step_that_does_not_exist(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before the images are read, and by the images too."""
    with pytest.raises(UserError, match="step=10: the run has steps 1 to 9"):
        check_step(10, 9)

    def read(self: ImageFolder, *args: object) -> None:
        raise AssertionError("the images were read")

    monkeypatch.setattr(ImageFolder, "open", read)
    with pytest.raises(UserError, match="step=10: the run has steps 1 to 9"):
        equissl.replay_step(run.path, 10)


def test_the_table_fits_the_terminal(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["replay-step", str(run.path), "step=2", "device=cpu"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 80
    table = equissl.replay_step(run.path, 2).table
    found = " ".join(shown)
    assert all(found.count(f" {heading} ") >= 1 for heading in table.headings if heading != "file")
    assert max(map(len, str(table).splitlines())) > 80
