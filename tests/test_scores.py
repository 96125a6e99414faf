"""Scores, records, recipes and runs as a person sees them in Python: text, HTML, pandas, a chart."""

from __future__ import annotations

import inspect
import io
from pathlib import Path

import matplotlib
import pytest
import torch

import equissl
from equissl import augment
from equissl.api.scores import Scores
from equissl.errors import UserError
from equissl.evaluate.base import Score
from equissl.progress import Display, shown
from equissl.recipes import equimod
from equissl.runs.folder import Run
from equissl.storage import write_json, write_rows
from equissl.tables import Rows, html_table

matplotlib.use("Agg")
LINEAR = Score(
    "linear/top1",
    0.62,
    0.5,
    0.7,
    "fraction",
    80,
    title="Linear accuracy",
    group="Classification",
    higher_is_better=True,
)


@pytest.fixture(scope="module")
def scores() -> Scores:
    images = torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 16))
    return equissl.audit(network, images, factors=("brightness", "hue"), count=60, untrained=0, draws=1)


def test_dir_shows_the_public_names_and_nothing_else() -> None:
    assert dir(equissl) == sorted(equissl.__all__)
    assert not {"Display", "Stream", "lazy_exports", "TYPE_CHECKING"} & set(dir(equissl))
    for name in dir(equissl):
        assert getattr(equissl, name) is not None


def test_scores_print_the_claim_and_have_one_score_by_name(scores: Scores) -> None:
    text = repr(scores)
    assert "60 images" in text and "hue" in text and "brightness" in text
    assert scores["audit/hue"] in scores and scores["audit/hue"].name == "audit/hue"
    with pytest.raises(UserError, match="no score 'audit/hew'; did you mean 'audit/hue'"):
        scores["audit/hew"]
    assert isinstance(scores[:2], Scores) and repr(Scores()) == "no scores"


def test_scores_as_html_escape_what_names_hold(scores: Scores) -> None:
    named = Scores([*scores, LINEAR], {"model": "<script>alert(1)</script>"})
    html = named._repr_html_()
    assert "<script>" not in html and html.count("<table>") == 2
    assert "Linear accuracy" in html and "<td>0.62 [0.50, 0.70]</td>" in html


def test_scores_for_pandas_and_as_a_chart(scores: Scores) -> None:
    frame = scores.to_pandas()
    assert list(frame["value"]) == [s.value for s in scores]
    assert set(frame["baseline"]) >= {"", "constant"} and "verdict" in frame
    ax = Scores([*scores, LINEAR]).plot()
    assert ax.get_yticklabels()[0].get_text() == "Linear accuracy"
    assert len(ax.get_yticks()) == 3


def test_records_show_their_table() -> None:
    (_, _), record = augment.views(torch.rand(2, 3, 16, 16), augment.presets.simclr(8))
    assert repr(record).startswith("Record of 2 images, views a, b (torch)\n")
    assert "hue [turns]" in record._repr_html_()
    frame = record.to_pandas()
    assert len(frame) == 4 and list(frame["view"]) == ["a", "b", "a", "b"]
    titles = [ax.get_title() for ax in record.plot().axes]
    assert "hue" in titles and "color_order" not in titles


def test_recipes_show_what_differs_from_defaults() -> None:
    recipe = equimod.simclr_cifar10_small()
    lines = dict(recipe.lines())
    assert lines["modules.equimod"].startswith("Weighted(module=EquiMod(")
    assert "batch_norm" not in lines  # its default
    assert repr(recipe).startswith("Recipe\ndata ") and all(len(x) <= 120 for x in repr(recipe).splitlines())
    assert "modules.equimod" in recipe._repr_html_()
    frame = recipe.to_pandas().set_index("setting")["value"]
    assert frame["batch_size"] == recipe.batch_size and frame["views.a.augment.steps.0.size"] == 32


def test_a_run_has_its_fields_as_attributes(tmp_path: Path) -> None:
    from equissl.config.serialize import to_dict

    recipe = equimod.simclr_cifar10_small()
    write_json(tmp_path / "recipe.json", to_dict(recipe))
    write_json(tmp_path / "environment.json", {"recipe": "equimod.simclr_cifar10_small"})
    write_rows(tmp_path / "log.jsonl", [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.0, "lr": 0.1}])
    write_rows(tmp_path / "scores.jsonl", [LINEAR.row()])
    run = Run(tmp_path)
    assert run.recipe == recipe and run.environment["recipe"] == "equimod.simclr_cifar10_small"
    assert run.log.column("lr") == [None, 0.1] and run.scores[0]["value"] == 0.62
    assert list(run.log.to_pandas()["loss"]) == [2.5, 2.0]
    assert "last loss" in run._repr_html_() and "<td>2</td>" in run.log._repr_html_()


def test_tables_for_notebooks_are_cut_and_escaped() -> None:
    html = html_table(["a"], [[f"<b>{k}"] for k in range(70)])
    assert "10 more rows" in html and "&lt;b&gt;0" in html and "<b>" not in html
    assert Rows([{"a": 1.23456}])._repr_html_().count("1.235") == 1


def test_progress_is_silent_by_default_and_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    images = torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 16))
    equissl.embed(network, images)
    assert capsys.readouterr() == ("", "")
    equissl.embed(network, images, progress=True)
    out, err = capsys.readouterr()
    assert not out and "features: 60/60" in err
    calls: list[tuple[str, int, int]] = []
    equissl.embed(network, images, progress=lambda *call: calls.append(call))
    assert calls == [("features", 60, 60)]
    with pytest.raises(UserError, match="progress='yes': expected True, False or a function"):
        equissl.embed(network, images, progress="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize(("widgets", "live"), [(True, True), (False, False)])
def test_a_notebook_has_a_bar_where_it_can_draw_one(
    monkeypatch: pytest.MonkeyPatch, widgets: bool, live: bool
) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("equissl.progress.find_spec", lambda name: object() if widgets else None)
    assert Display().live is live and not Display(silent=True).live


def test_a_bar_ends_with_the_work_even_if_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Display] = []
    monkeypatch.setattr("rich.console.Console.is_terminal", True)

    def work() -> None:
        with shown(True) as progress:
            assert isinstance(progress, Display)
            kept.append(progress)
            progress.console.file = io.StringIO()
            progress("reading", 1, 3)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert kept[0]._bar is None


def test_every_public_function_shows_its_progress_on_request() -> None:
    found = {}
    for name in equissl.__all__:
        value = getattr(equissl, name)
        if inspect.isfunction(value) and "progress" in inspect.signature(value).parameters:
            found[name] = inspect.signature(value).parameters["progress"]
    assert {"audit", "embed", "subspace", "preview_views", "render_solids", "download"} <= set(found)
    kinds = ("ShowProgress", "bool")  # training has a log for what others do with a function
    assert all(p.annotation in kinds and p.default is False for p in found.values()), found
