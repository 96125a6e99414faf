"""The rows of SIE's table: they build, learn from renders, and can be asked where things went."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import equissl
from equissl.api.evaluate import EvaluationOptions
from equissl.config import registry
from equissl.data.solids import Solids
from equissl.data.threediebench import ThreeDIEBench
from equissl.equivariance.sie import SIE
from equissl.errors import UserError
from equissl.invariance.vicreg import VICReg
from equissl.nn.predictors import Hypernetwork
from equissl.recipe import Recipe
from equissl.recipes import sie
from equissl.study.presets import sie as study
from equissl.training.options import Options
from equissl.views import make_views

TABLE = [recipe for name, recipe in vars(sie).items() if name in study.ROWS]
ROWS = [e.value for e in registry.recipes() if e.name.startswith("sie.") and e.name != "sie.sie_photographs"]


def test_every_row_is_there() -> None:
    assert len(ROWS) == 15


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.__name__)
def test_a_row_learns_on_solids(row: object) -> None:
    recipe: Recipe = sie.on_solids(row())  # type: ignore[operator]
    data = Solids.example(Path())
    torch.manual_seed(0)
    model = recipe.build(data.spaces)
    terms = model(make_views(data.open("train").batch(torch.arange(8)), recipe.views, 0))
    loss = torch.stack(list(terms.values())).sum()
    loss.backward()
    assert loss.isfinite()
    assert not [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_the_papers_weights_and_widths() -> None:
    recipe = sie.sie()
    model = recipe.build(recipe.data.spaces)
    equi, inv = recipe.modules["sie"].module, recipe.base
    assert isinstance(equi, SIE.Config) and isinstance(inv, VICReg.Config)
    weights = (inv.invariance, equi.equivariance, equi.variance, equi.predicted_variance, equi.covariance)
    assert weights == (10, 4.5, 10, 10, 1) and inv.variance == inv.covariance == 0
    assert model.encoder.width("inv") == model.encoder.width("equi") == 256
    predictor = model.modules_by_name["sie"].predictor
    assert sum(p.numel() for p in predictor.parameters()) == 4 * 1024**2  # type: ignore[union-attr,operator]
    assert recipe.schedule.lr_at(0, 1e-3, 100, 10) == recipe.schedule.lr_at(99, 1e-3, 100, 10) == 1e-3


def test_the_encoding_and_start_of_the_released_code() -> None:
    """A quaternion and two plain differences: 6 numbers, not 8 as with circular hues."""
    recipe = sie.sie_color()
    predictor: Any = recipe.build(recipe.data.spaces).modules_by_name["sie"].predictor
    weight = predictor.weights[0].detach()
    assert weight.shape == (6, 1024, 1024)
    assert float(weight.std(correction=0)) == pytest.approx(6**-0.5 / 3**0.5, rel=1e-2)
    assert sie.on_solids(recipe).modules["sie"].module == replace(
        sie.sie_solids().modules["sie"].module, predictor=Hypernetwork()
    )


@pytest.mark.parametrize("row", TABLE, ids=lambda r: r.__name__)
def test_no_batch_of_the_table_holds_an_object_twice(row: Any) -> None:
    recipe: Recipe = row()
    assert recipe.distinct_objects and isinstance(recipe.data, ThreeDIEBench)
    assert recipe.data.convention == "original"


def test_a_run_whose_batches_hold_every_object_once(tmp_path: Path) -> None:
    """24 objects of two images: 4 batches of 12, and 2 of 20 instead of 2 with 8 images left over."""
    recipe = replace(sie.sie_solids(), data=Solids.example(Path()), epochs=1, distinct_objects=True)
    for batch_size, steps in ((12, 4), (20, 2)):
        small = replace(recipe, batch_size=batch_size, monitor_every=0)
        run = equissl.pretrain(small, tmp_path / str(batch_size), Options(loggers=(), log_every=1))
        assert [row["step"] for row in run.log if "loss" in row] == list(range(1, steps + 1))
    with pytest.raises(UserError, match="exceeds the number of objects"):
        equissl.pretrain(replace(recipe, batch_size=32), tmp_path / "32", Options(loggers=()))


def test_sie_trains_on_the_official_layout_and_is_scored(tmp_path: Path) -> None:
    data = replace(ThreeDIEBench.example(tmp_path), size=32)
    recipe = replace(sie.sie_solids(), data=data, epochs=1, batch_size=8, monitor_every=0)
    run = equissl.pretrain(recipe, tmp_path / "run", Options(loggers=()))
    scores = equissl.evaluate_run(run.path, options=EvaluationOptions(count=50))
    found = {s.name: s for s in scores if s.name.startswith("retrieval/") and not s.baseline}
    assert {"retrieval/test/mrr", "retrieval/test/hits@5", "retrieval/test/pre/same/pose"} <= set(found)
    assert found["retrieval/test/mrr"].count == 4 and found["retrieval/test/mrr"].extra["module"] == "sie"
