"""What is said beside the scores: collapse, classes and factors without a score; scale and balance."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from test_train import QUIET, tiny

from equissl.api.evaluate import EvaluationOptions, evaluate_run
from equissl.cli.main import main
from equissl.data.image_folder import write_images
from equissl.errors import NonFiniteError
from equissl.evaluate.base import Evaluation, FeatureTable
from equissl.evaluate.classification.knn import KNN
from equissl.evaluate.classification.labels import accuracy_scores
from equissl.evaluate.classification.linear_probe import LinearProbe
from equissl.evaluate.classification.sgd_probe import SGDProbe, decimal_scale
from equissl.evaluate.collapse import collapse_warning
from equissl.evaluate.factors.absolute import Factors
from equissl.evaluate.remarks import remarks
from equissl.params import Params
from equissl.random import Stream
from equissl.testing.evaluation import example_table
from equissl.training.loop import train
from equissl.training.optim import SGD


def scaled(table: FeatureTable, factor: float) -> FeatureTable:
    return replace(table, vectors=table.vectors * factor)


@pytest.mark.parametrize("factor", [1e-8, 1e-4, 1e-2, 1e4, 1e8])
@pytest.mark.parametrize("evaluation", [SGDProbe.example(), KNN(), LinearProbe()], ids=lambda e: e.name)
def test_scores_do_not_depend_on_the_scale_of_the_features(evaluation: Evaluation, factor: float) -> None:
    tables = example_table(120, "train"), example_table(60, "test")
    as_they_are = [s.value for s in evaluation.run(*tables)]
    assert min(as_they_are[:1]) > 0.9
    elsewhere = [s.value for s in evaluation.run(*(scaled(t, factor) for t in tables))]
    assert elsewhere == pytest.approx(as_they_are, abs=0.02)


def test_a_single_lr_takes_features_as_they_are() -> None:
    """As in the protocols of papers; their size is a power of ten, 1 for usual ones."""
    tables = example_table(120, "train"), example_table(60, "test")
    protocol = SGDProbe(lrs=(30.0,), inits=1, epochs=30)
    small = next(iter(protocol.run(*(scaled(t, 1e-4) for t in tables))))
    assert small.extra["scale"] == 1 and small.value < 0.9
    assert decimal_scale(torch.full((4, 2), 0.4)) == 1 and decimal_scale(torch.full((4, 2), 4e-5)) == 1e-4
    assert decimal_scale(torch.zeros(4, 2)) == 1


def test_a_layer_that_diverges_is_no_class() -> None:
    tables = example_table(120, "train"), example_table(60, "test")
    with pytest.raises(NonFiniteError, match=r"diverged at lr=1e\+38; lower sgdprobe\.lrs"):
        list(SGDProbe(lrs=(1e38,), inits=1, epochs=5).run(*tables))
    best = next(iter(SGDProbe(lrs=(1e38, 1.0), inits=1, epochs=30).run(*tables)))
    assert best.extra["lr"] == 1.0


@pytest.mark.parametrize("repeats", [0, 3])
def test_balanced_accuracy_stands_beside_top1_where_classes_are_unbalanced(repeats: int) -> None:
    index = torch.arange(90)
    labels = torch.where(index < 70, 0, index % 2 + 1)
    shape = (repeats, 90) if repeats else (90,)
    predictions = torch.randint(3, shape, generator=torch.Generator().manual_seed(0))
    predictions[..., :60] = 0
    scores = {s.name: s for s in accuracy_scores("knn/top1", predictions, labels, index, "kNN, top-1")}
    assert list(scores) == ["knn/top1", "knn/balanced"]
    wanted = [balanced_accuracy_score(labels, p) for p in predictions.view(-1, 90)]
    row = scores["knn/balanced"]
    assert row.value == pytest.approx(sum(wanted) / len(wanted)) and row.low is not None
    assert row.value < scores["knn/top1"].value - 0.1
    assert (row.unit, row.title, row.higher_is_better) == ("balanced accuracy", "kNN, balanced", True)
    even = accuracy_scores("knn/top1", predictions, index % 3, index, "kNN, top-1")
    assert [s.name for s in even] == ["knn/top1"]


def test_a_majority_looks_as_it_is() -> None:
    train_table, test = example_table(200, "train"), example_table(100, "test")
    rare = torch.arange(100) % 10 != 0
    test = replace(test, labels=torch.where(rare & (test.labels > 0), 0, test.labels))
    constant = {s.name: s.value for s in LinearProbe().run(train_table, test) if s.baseline == "constant"}
    assert constant["linear/top1"] != pytest.approx(1 / 3, abs=0.1)
    assert constant["linear/balanced"] == pytest.approx(1 / 3, abs=0.01)


def test_classes_without_training_images_are_said() -> None:
    train_table, test = example_table(60, "train"), example_table(30, "test")
    assert not remarks(train_table, test)
    shifted = replace(test, labels=torch.where(test.labels >= 0, test.labels + 3, -1))
    known = int((test.labels >= 0).sum())
    (said,) = remarks(train_table, shifted)
    assert f"{known} of {known} labelled test images" in said and "0.00 at most" in said


def test_constant_factors_are_said() -> None:
    train_table, test = example_table(60, "train"), example_table(30, "test")
    values = {**test.params.values, "size": torch.full((30, 1), 2.0)}
    still = replace(test, params=Params.of(test.params.space, values))
    assert remarks(train_table, still) == [
        "no score for size: no variation in the training or the test images"
    ]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("split", [0, 1])
def test_factors_that_are_not_finite_are_said_and_not_scored(value: float, split: int) -> None:
    tables = [example_table(60, "train"), example_table(30, "test")]
    values = {k: v.clone() for k, v in tables[split].params.values.items()}
    values["size"][5] = value
    tables[split] = replace(tables[split], params=Params.of(tables[split].params.space, values))
    assert "no score for size: not finite for some images" in remarks(*tables)
    names = {score.name for score in Factors().run(*tables)}
    assert names and "factor/size" not in names


def test_collapse_is_said() -> None:
    train_table, test = example_table(60, "train"), example_table(30, "test")
    noise = Stream.of(torch.arange(30), "noise").normal("n", test.vectors.shape[1])
    (said,) = remarks(train_table, replace(test, vectors=5 + 0.01 * noise))
    assert said.startswith("the features are collapsed") and "RankMe 1.1 of" in said
    assert not collapse_warning(0.9 / 64**0.5, 20, 64) and not collapse_warning(0.3, 1.9, 3)


def test_a_collapsed_run_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from equissl.training import callbacks

    measured = {"std": 0.014, "rank_me": 1.7}
    monkeypatch.setattr(callbacks, "monitor", lambda *arguments: dict(measured))
    train(tiny(epochs=3), tmp_path / "run", replace(QUIET, silent=False))
    said = [line for line in capsys.readouterr().err.splitlines() if "collapsed" in line]
    assert [line.partition(",")[0] for line in said] == ["warning: after epoch 1", "warning: after epoch 3"]
    assert "std 0.014" in said[0] and "RankMe 1.7 of" in said[0]


def test_evaluate_says_it_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One image per class: the test images are of classes that nothing was fitted on."""
    photos = tmp_path / "photos"
    write_images(photos, {f"class{k}": 1 for k in range(24)})
    run = train(tiny(epochs=1, monitor_every=0, optimizer=SGD(lr=0.0)), tmp_path / "run", QUIET)
    words = ["evaluate", str(run.path), str(photos), "labels=folders", "evaluations=knn", "steer=0"]
    assert main([*words, "device=cpu"]) == 0
    assert "of a class without training images" in capsys.readouterr().err
    said: list[str] = []
    passes: list[str] = []
    options = EvaluationOptions(evaluations=("knn", "factors", "collapse"), strict=False, steer=0)
    how: Any = {"say": said.append, "progress": lambda what, done, total: passes.append(what)}
    evaluate_run(run.path, photos, options, **how)
    cost, labels, factors, hint = said
    assert cost.startswith("evaluating: knn, factors, collapse; ")
    assert cost.endswith(" test images, by the model and by an untrained network")
    assert labels.startswith("left out: knn: it needs labels")
    assert factors == "left out: factors: it needs factors, but the dataset records none"
    assert hint.startswith("for crop, hue") and f"equissl audit {run.path} data={photos}" in hint
    for encoder in ("run", "untrained network"):
        for split in ("training", "test"):
            assert f"{encoder}: features of {split} images" in passes
    monkeypatch.setattr("equissl.evaluate.cost.MANY_IMAGES", 10)
    said.clear()
    evaluate_run(run.path, photos, options, **how)
    assert any(re.search(r": about \d+ s for features, then probes; count=N and tra", x) for x in said)
