"""Studies: laid out, carried out, interrupted, resumed, tabulated."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_train import QUIET, tiny

from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.cli.main import main
from equissl.config import registry
from equissl.config.serialize import to_dict
from equissl.errors import Stopped, UserError
from equissl.recipe import Recipe
from equissl.report import statistics as statistics_of
from equissl.runs.changes import run_differences
from equissl.runs.folder import open_run
from equissl.storage import read_json, read_rows
from equissl.study import figure, plan, runner, table
from equissl.study.plan import Bars, Cell, Measure, Study
from equissl.study.presets import essl, grid
from equissl.views import make_views


def small(**changes: Any) -> Study:
    recipe = tiny(monitor_every=0, epochs=1)
    plain = replace(recipe, modules={}, views={k: recipe.views[k] for k in ("a", "b")})
    study = Study(
        title="Tiny",
        cells=(
            Cell({"base": "simclr", "module": "none"}, plain),
            Cell({"base": "simclr", "module": "equimod"}, recipe),
        ),
        measures=(Measure("linear/top1", "top-1"), Measure("knn/top1", "kNN")),
        figure=Bars(groups="base", series="module"),
        images=12,
        compare=("module", "none"),
    )
    return replace(study, **changes)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "out"
    runner.run(small(), out, seeds=2, options=QUIET, silent=True)
    return out


def test_the_folder_is_complete(done: Path) -> None:
    assert {p.name for p in done.iterdir()} == {
        "runs",
        "study.json",
        "scores.jsonl",
        "table.md",
        "table.json",
        "figure.png",
    }
    assert len(list((done / "runs").iterdir())) == 4
    made = json.loads((done / "table.json").read_text())
    rows = read_rows(done / "scores.jsonl")
    for cell in made["cells"]:
        value = cell["values"]["knn/top1"]
        mine = [
            r["value"]
            for r in rows
            if r["labels"] == cell["labels"]
            and r["name"] == "knn/top1"
            and not r["baseline"]
            and r["part"] == "all"
        ]
        assert value["seeds"] == 2 and value["images"] == 12
        assert value["mean"] == pytest.approx(sum(mine) / 2) and value["std"] == pytest.approx(
            statistics.stdev(mine)
        )
    text = (done / "table.md").read_text()
    for part in (
        "| simclr | equimod | 3 | 3 | 48 | 1 | 2 |",
        "4 of 4 runs",
        "Command: `",
        "Hardware: CPU (",
        "random-init encoder",
    ):
        assert part in text


def test_a_run_of_a_study_is_the_run_itself(done: Path) -> None:
    run = open_run(done / "runs" / "simclr-equimod-seed1")
    assert not run_differences(run, tiny(monitor_every=0, epochs=1, seed=1))
    assert run_differences(run, tiny(monitor_every=0, epochs=2, seed=1)) == ["epochs: 1 -> 2"]


def test_finished_runs_are_left_alone_and_seeds_can_be_added(done: Path, tmp_path: Path) -> None:
    import shutil

    out = tmp_path / "out"
    shutil.copytree(done, out)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.pt")}
    runner.run(small(cells=small().cells[:1]), out, seeds=3, options=QUIET, silent=True)
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())
    made = json.loads((out / "table.json").read_text())
    assert [c["seeds"] for c in made["cells"]] == [3, 2]


def test_interrupted_and_started_again_equals_straight_through(done: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Stopped, match="same command"):
        runner.run(small(), out, seeds=2, options=replace(QUIET, stop_after=2), silent=True)
    assert "0 of 4 runs are done" in (out / "table.md").read_text()
    runner.run(small(), out, seeds=2, options=QUIET, silent=True)
    one, two = (json.loads((o / "table.json").read_text())["cells"] for o in (out, done))
    assert one == two


def test_one_failing_run_does_not_stop_the_others(tmp_path: Path) -> None:
    from equissl.training.optim import AdamW

    first, second = small().cells
    wild = replace(first, recipe=replace(first.recipe, optimizer=AdamW(lr=1e30), epochs=3))
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"simclr-none-seed0 failed: .*not finite"):
        runner.run(small(cells=(wild, second)), out, seeds=1, options=QUIET, silent=True)
    cells = json.loads((out / "table.json").read_text())["cells"]
    assert [c["seeds"] for c in cells] == [0, 1]


def test_other_settings_in_the_same_folder_are_refused(done: Path) -> None:
    study = plan.with_settings(small(), {"batch_size": "8"})
    with pytest.raises(UserError, match=r"batch_size: 16 -> 8.*choose another out"):
        runner.run(study, done, seeds=2, options=QUIET, silent=True)
    with pytest.raises(UserError, match="no study here"):
        runner.tabulate(done / "runs")


def test_another_way_of_measuring_in_the_same_folder_is_refused(done: Path) -> None:
    with pytest.raises(UserError, match=r"evaluated with other settings \(images: 12 there, 11 now\)"):
        runner.run(small(images=11), done, seeds=2, options=QUIET, silent=True)


def test_what_a_run_is_asked_later_does_not_enter_the_table(done: Path) -> None:
    plan_, rows = read_json(done / "study.json"), read_rows(done / "scores.jsonl")
    later = [{**r, "value": 9.0, "data": "elsewhere"} for r in rows]
    assert table.build(plan_, [*rows, *later])["cells"] == table.build(plan_, rows)["cells"]


def test_settings_reach_every_cell_that_has_them() -> None:
    study = plan.with_settings(small(), {"epochs": "7", "modules.equimod.weight": "0.5"})
    assert [c.recipe.epochs for c in study.cells] == [7, 7]
    assert study.cells[1].recipe.modules["equimod"].weight == 0.5
    with pytest.raises(UserError, match=r"modules\.equimodd"):
        plan.with_settings(small(), {"modules.equimodd.weight": "1"})
    with pytest.raises(UserError, match="epochs=many"):
        plan.with_settings(small(), {"epochs": "many"})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"across": "modul"}, "across='modul'"),
        ({"figure": Bars(groups="bases")}, "figure.groups='bases'"),
        ({"cells": ()}, "at least one cell"),
        ({"cells": (small().cells[0],) * 2}, "called 'simclr-none'"),
        ({"images": 0}, "images must be at least 1"),
        ({"figure": Bars(groups="base", measures=("knn",))}, "no measures of the study"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_bad_studies_are_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        small(**changes)


def row(run: str, value: float, base: str, module: str) -> dict[str, Any]:
    labels = {"base": base, "module": module}
    return {
        "run": run, "name": "knn/top1", "value": value, "baseline": "", "part": "all", "labels": labels,
        "machine": "m", "count": 9, "unit": "fraction",
    }  # fmt: skip


@pytest.mark.slow
def test_a_measure_of_one_part_has_a_column_of_its_own(tmp_path: Path) -> None:
    recipe = tiny(monitor_every=0, epochs=1)
    split = replace(recipe.encoder, parts={"inv": 8, "equi": recipe.encoder.build().width() - 8})
    cells = (Cell({"row": "plain"}, recipe), Cell({"row": "split"}, replace(recipe, encoder=split)))
    measures = (Measure("linear/top1", "top-1"), Measure("linear/top1", "top-1, inv", part="inv"))
    study = small(cells=cells, measures=measures, compare=None, figure=Bars(groups="row"))
    out = runner.run(study, tmp_path / "out", seeds=1, options=QUIET, silent=True).parent
    plain, parted = json.loads((out / "table.json").read_text())["cells"]
    rows = read_rows(out / "runs" / "split-seed0" / "scores.jsonl")
    (inv,) = (r["value"] for r in rows if r["name"] == "linear/top1" and r["part"] == "inv")
    assert parted["values"]["linear/top1@inv"]["mean"] == inv
    assert parted["values"]["linear/top1"]["seeds"] == 1 and plain["values"]["linear/top1@inv"]["seeds"] == 0


def test_differences_are_paired_by_seed_and_clear_only_beyond_the_interval() -> None:
    values = {"none": (0.1, 0.5, 0.9), "up": (0.2, 0.6, 0.99), "mixed": (0.3, 0.4, 1.0)}
    rows, planned = [], []
    for module, numbers in values.items():
        for seed, value in enumerate(numbers):
            rows.append(row(f"{module}{seed}", value, "b", module))
            cost = {"views": 2, "pixels": 2.0, "images_per_step": 8}
            planned.append(
                {
                    "run": f"{module}{seed}",
                    "labels": rows[-1]["labels"],
                    "seed": seed,
                    "epochs": 1,
                    "cost": cost,
                }
            )
    layout = plan.layout(small(measures=(Measure("knn/top1", "kNN"),), figure=Bars(groups="base")))
    made = table.build({**layout, "command": "c", "runs": planned}, rows)
    up, mixed = (d["values"]["knn/top1"] for d in made["differences"])
    assert up["clear"] and up["mean"] == pytest.approx(0.29 / 3) and not mixed["clear"]
    assert up["std"] == pytest.approx(statistics.stdev((0.1, 0.1, 0.09)))
    signs = [statistics_of.sign_of(d) for d in ([0.1, 0.5, 0.9], [0.5], [-0.5, -0.4, -0.6])]
    assert signs == [0, 0, -1]
    assert "**+0.097" in table.markdown(made)
    assert "No clear gain on any measure at this scale: b + mixed." in table.markdown(made)
    beside = table.markdown({**made, "across": "module"})
    assert "kNN, none | kNN, up | kNN, mixed" in beside and "| b | 2 | 2 | 8 | 1 | 3 | 0.500" in beside


def test_cost_counts_orbits_and_sizes() -> None:
    from equissl.augment.orbits import QuarterTurns
    from equissl.views import ViewSpec

    recipe = tiny(
        views={
            "a": ViewSpec(),
            "b": ViewSpec(RandomResizedCrop(8), orbit=QuarterTurns()),
            "c": ViewSpec(encode=False),
        }
    )
    assert plan.cost(recipe) == {"views": 5, "pixels": 2.0, "images_per_step": 80}


@pytest.mark.parametrize("entry", registry.studies(), ids=lambda e: e.name)
def test_every_study_is_well_formed(entry: registry.Entry) -> None:
    study = entry.value()
    assert isinstance(study, Study)
    for job in plan.jobs(study, 1):
        assert isinstance(job.recipe, Recipe) and to_dict(job.recipe)
        job.recipe.build(job.recipe.data.spaces)


@pytest.mark.parametrize("base", grid.BASES)
def test_every_base_of_the_grid_learns_with_every_module(base: str) -> None:
    for module in grid.MODULES:
        (cell,) = grid.grid(bases=(base,), modules=(module,)).cells
        data = replace(cell.recipe.data, objects=24, views=1).open("train")  # type: ignore[type-var]
        recipe = replace(cell.recipe, encoder=replace(cell.recipe.encoder, name="test_resnet", options={}))
        model = recipe.build(data.spaces)
        losses = model(make_views(data.batch(torch.arange(16)), recipe.views, seed=0))
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        assert len(losses) >= len(recipe.modules) + 1 and all(v.isfinite() for v in losses.values())


def failed(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    return capsys.readouterr().err


@pytest.mark.slow
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study"]) == 0
    assert "grid: " in capsys.readouterr().out
    out = tmp_path / "out"
    words = ["study", "grid", f"out={out}", "device=cpu", "seeds=1", "bases=simclr", "modules=none"]
    scale = ["data.objects=160", "data.views=1", "epochs=1", "batch_size=64", "images=100"]
    assert main([*words, *scale, "encoder.name=test_resnet", "encoder.options={}"]) == 0
    assert "| simclr | none |" in capsys.readouterr().out
    assert main(["study", "grid", f"out={out}", "only=table"]) == 0
    assert "1 of 1 runs are done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["gird", "out=x"], "did you mean 'grid'"),
        (["grid"], "out=... is missing"),
        (["grid", "out=x", "bases=simclr,byl"], "did you mean 'byol'"),
        (["grid", "out=x", "epohs=3"], "did you mean 'epochs'"),
        (["grid", "out=x", "seeds=0"], "seeds must be at least 1"),
        (["grid", "out=x", "data=nowhere"], "nowhere"),
        (["grid", "out=x", "limit=5"], "about data=DIR"),
        (["grid", "out=x", "only=figure"], "'all' or 'table'"),
        (["grid", "out=x", "only=table"], "no study here"),
        (["grid", "out=x", "data.objects=24"], "at least 40 test images of 10 groups"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_mistakes(
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in failed(["study", *words], capsys)
    assert not list(tmp_path.iterdir()), "a mistake left something behind"


def test_one_cell_can_be_what_all_others_are_compared_with(done: Path, tmp_path: Path) -> None:
    """In the differences, and as a line in the figure instead of bars."""
    reference = {"base": "simclr", "module": "none"}
    study = small(compare=None, reference=reference)
    laid = {**plan.layout(study), "command": "", "runs": read_json(done / "study.json")["runs"]}
    rows = read_rows(done / "scores.jsonl")
    made = table.build(laid, rows)
    compared = table.build({**laid, "compare": ["module", "none"], "reference": None}, rows)
    assert made["differences"] == compared["differences"]
    assert "## Difference to base = simclr, module = none" in table.markdown(made)
    figure.draw(made, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="are the labels of no cell"):
        small(compare=None, reference={"base": "simclr", "module": "augself"})
    with pytest.raises(ValueError, match="exclude each other"):
        small(reference=reference)


def test_the_study_of_transformations() -> None:
    study = essl.transformations()
    assert len(study.cells) == 1 + 2 * 9 and study.reference == study.cells[0].labels
    assert len(plan.jobs(study, 2)) == 38
    by_name = {c.name: c.recipe for c in study.cells}
    start = by_name["none-baseline"]
    for cell in study.cells[1:]:
        same = replace(cell.recipe, views=start.views, modules={}, about=start.about)
        assert same == start, "one transformation is all that differs"
    assert plan.cost(by_name["jigsaw-sensitive"])["views"] == 26
    assert plan.cost(by_name["rotation-sensitive"])["pixels"] == 3
    full = essl.transformations(names=("blur",), modes=("sensitive",), paper=True).cells
    assert [c.recipe.epochs for c in full] == [800, 800] and full[1].recipe.encoder.name == "resnet18"
    with pytest.raises(UserError, match=r"no transformation 'rotations'; did you mean 'rotation'"):
        essl.transformations(names=("rotations",))
    with pytest.raises(UserError, match=r"no mode 'equivariant'"):
        essl.transformations(modes=("equivariant",))
