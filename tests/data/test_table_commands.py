"""A table in the commands: trained on, evaluated, embedded, checked, and refused before anything long."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from equissl.api.evaluate import EvaluationOptions, evaluate_run
from equissl.api.pretrain import pretrain, resume
from equissl.auto.default import choose_recipe
from equissl.auto.repair import plan_repair
from equissl.cli.main import main
from equissl.data.folder import open_data
from equissl.data.given_images import open_images
from equissl.data.image_table import ImageTable
from equissl.errors import UserError
from equissl.recipes.sie import equimod_measured, sie_measured
from equissl.runs.changes import run_differences
from equissl.training.options import Options


@pytest.fixture
def table(tmp_path: Path) -> ImageTable:
    return replace(ImageTable.example(tmp_path / "data"), size=32)


def test_a_turntable_trains_and_its_factor_is_scored(table: ImageTable, tmp_path: Path) -> None:
    recipe = replace(sie_measured(), data=table, epochs=1, batch_size=8, monitor_every=0)
    recipe = replace(recipe, encoder=replace(recipe.encoder, size=32))
    quiet = Options(loggers=(), silent=True)
    run = pretrain(recipe, tmp_path / "run", quiet)
    stored = json.loads((run.path / "recipe.json").read_text())["data"]["schema"]
    assert stored["group"] == "plant" and stored["factors"][0]["factor"]["period"] == 360
    assert not run_differences(run, recipe)  # the same command again: a study goes on
    assert run_differences(run, replace(recipe, data=replace(table, group="")))
    text = Path(table.path).read_text().replace("ripeness:real", "ripeness").replace("yaw_degrees", "yaw")
    Path(table.path).write_text(text.replace("yaw", "yaw_degrees"))  # the run keeps the kind of ripeness
    resume(run.path, {"epochs": "2"}, quiet)
    with pytest.raises(UserError, match="needs at least 40"):
        plan_repair(str(run.path), table.path, ["hue"], settings={"data.group": "plant"})
    settings = {"factors.factors": "yaw_degrees,ripeness"}
    options = EvaluationOptions(evaluations=("factors",), settings=settings, count=0, steer=0)
    names = {s.name for s in evaluate_run(run.path, options=options)}
    assert {"factor/yaw_degrees", "factor_degrees/yaw_degrees", "factor/ripeness"} <= names
    settings = {"data.group": "plant", "data.factors": "picked:none", "factors.factors": "picked"}
    with pytest.raises(UserError, match="the dataset records no factor 'picked'"):
        evaluate_run(run.path, table.path, replace(options, settings=settings))


def test_every_module_reads_the_change_of_a_table(table: ImageTable) -> None:
    for made in (sie_measured(), equimod_measured()):
        model = replace(made, data=table).build(table.spaces)
        (module,) = model.modules_by_name.values()
        assert module.space.names == ("yaw_degrees", "ripeness", "variety", "picked")  # type: ignore[union-attr]


def test_a_table_goes_where_a_folder_goes(table: ImageTable, tmp_path: Path) -> None:
    opened = open_data(table.path, 32, "plant", settings={"group": "plant", "test_fraction": "0.25"})
    assert isinstance(opened, ImageTable) and opened.open("test").classes == tuple(
        f"plant {k}" for k in range(6)
    )
    assert len(open_images(table.path, 32)) == 24 and open_images(table.path, 32).spaces["image"].names
    reasons = choose_recipe(Path(table.path))[1]
    assert reasons[0].startswith("24 images, median shorter side 12 px")
    out = tmp_path / "features.npz"
    assert main(["embed", "timm/test_resnet", table.path, f"out={out}", "size=32"]) == 0
    assert len(np.load(out)["files"]) == 24


def test_check_and_refusals(table: ImageTable, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["check", table.path, "data.group=plant", "data.split_by=group"]) == 0
    said = capsys.readouterr().out
    assert "factor yaw_degrees: circular(360) by its ending; 0 to 345" in said
    assert "groups: 6 by the column plant, 4 images each" in said
    assert "confounding: the label explains" in said
    for words, message in [
        (["check", table.path, "data.grup=plant"], "data.grup: no setting 'grup' in ImageTable"),
        (["audit", "timm/test_resnet", table.path, "data.grup=plant"], "no setting 'grup'"),
        (["audit", "timm/test_resnet", table.path, "grup=plant"], "has no key 'grup'"),
        (["evaluate", "run", "data.group=plant"], "is about data=DIR, which is missing"),
        (["check", str(tmp_path / "no.csv")], "expected a table of image files"),
        (["pretrain", table.path, "recipe=sie.sie_measured", "out=run"], "data.group=COLUMN of a table"),
    ]:
        assert main(words) != 0
        assert message in capsys.readouterr().err


def test_the_class_of_a_table_is_named_by_labels(
    table: ImageTable, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    network = ["timm/test_resnet", table.path]
    for words, message in [
        (["audit", *network, "label=plant"], "did you mean 'data.label'"),
        (["audit", *network, "group=plant"], "did you mean 'data.group'"),
        (["audit", *network, "labels=plant", "data.label=plant"], "name the class twice; keep one"),
        (
            ["audit", "timm/test_resnet", str(tmp_path), "labels=folders"],
            "an audit of a folder reads no labels",
        ),
        (["audit", *network, "labels=palnt"], "palnt"),
        (["subspace", *network, "factor=hue", "out=a.npz", "data.grup=plant"], "no setting 'grup'"),
        (
            ["subspace", *network, "factor=hue", "out=a.npz", "data.group=plant"],
            "at least 40 different images",
        ),
    ]:
        assert main(words) != 0
        assert message in capsys.readouterr().err
