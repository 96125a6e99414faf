"""Every evaluation obeys the laws, and each its own."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_files import golden

from equissl.errors import UserError
from equissl.evaluate.base import Evaluation, Score
from equissl.evaluate.classification.knn import KNN
from equissl.evaluate.classification.linear_probe import LinearProbe
from equissl.evaluate.collapse import Collapse, alignment, embedding_std, rank_me, uniformity
from equissl.evaluate.factors.absolute import Factors
from equissl.evaluate.probes.knn import knn
from equissl.params import Params, Rotation, Space
from equissl.testing.evaluation import check_evaluation, example_table


@pytest.mark.parametrize("kind", [LinearProbe, KNN, Factors, Collapse])
def test_laws(kind: type[Evaluation]) -> None:
    check_evaluation(kind.example())


def test_knn_equals_scikit_learn() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    g = torch.Generator().manual_seed(0)
    train, queries = torch.randn(90, 6, generator=g), torch.randn(1500, 6, generator=g)
    labels = torch.randint(5, (90,), generator=g)
    model = KNeighborsClassifier(7, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07))
    expected = torch.from_numpy(model.fit(train, labels).predict(queries))
    assert torch.equal(knn(train, labels, queries, 7, 0.07), expected)


def test_knn_survives_small_temperatures_and_few_images() -> None:
    train = torch.eye(4)
    assert knn(train, torch.tensor([2, 0, 1, 1]), train, 20, 1e-4).tolist() == [2, 0, 1, 1]


@pytest.mark.golden
@pytest.mark.parametrize("path", golden("essl"), ids=lambda p: p.stem)
def test_golden_knn(path: Path) -> None:
    with np.load(path) as file:
        train, query = torch.from_numpy(file["knn_bank"]), torch.from_numpy(file["knn_query"])
        labels = torch.from_numpy(file["knn_bank_labels"])
        predictions = knn(train, labels, query, int(file["knn_k"]), float(file["knn_temperature"]))
        assert predictions.tolist() == file["knn_predicted_top1"].tolist()


def test_images_without_a_label_do_not_count() -> None:
    train, test = example_table(90, "train"), example_table(44, "test")
    for evaluation in (LinearProbe(), KNN()):
        counts = {s.count for s in evaluation.run(train, test)}
        assert counts == {int((test.labels >= 0).sum())} != {len(test)}


def test_factors_must_be_recorded() -> None:
    train, test = example_table(30, "train"), example_table(30, "test")
    with pytest.raises(UserError, match=r"'hues'.*did you mean 'hue'"):
        list(Factors(("hues",)).run(train, test))
    only = {s.name for s in Factors(("hue", "flip")).run(train, test)}
    assert {name for name in only if name.startswith("factor/")} == {"factor/hue", "factor/flip"}


def test_factors_leaves_out_what_does_not_vary() -> None:
    train, test = example_table(60, "train"), example_table(30, "test")
    values = {**test.params.values, "hue": torch.full((30, 1), 0.3)}
    constant = replace(test, params=replace(test.params, values=values))
    assert not list(Factors(("hue",)).run(train, constant))


def test_the_sign_of_a_quaternion_does_not_matter() -> None:
    space = Space((Rotation("pose"),))
    pose = F.normalize(torch.randn(200, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    base = example_table(200, "train")
    score: list[float] = []
    for sign in (torch.ones(200, 1), torch.ones(200, 1) - 2 * (torch.arange(200) % 2)[:, None]):
        table = replace(
            base, vectors=Rotation("pose").encode(pose), params=Params.of(space, {"pose": sign * pose})
        )
        table = replace(table, parts={})
        score.append(next(Factors().run(table, table)).value)
    assert score[0] == score[1] > 0.99


def test_parts_are_read_apart() -> None:
    train, test = example_table(120, "train"), example_table(60, "test")
    parts = {"label": slice(0, 3), "all": slice(0, train.vectors.shape[1])}
    train, test = replace(train, parts=parts), replace(test, parts=parts)
    by_part = {s.part: s.value for s in Factors(("size",)).run(train, test) if not s.baseline}
    assert by_part["all"] > 0.95 and by_part["label"] < 0.2


def test_the_constant_baseline_is_computed() -> None:
    train, test = example_table(243, "train"), example_table(77, "test")
    result = {s.name: s for s in Factors().run(train, test) if s.baseline == "constant"}
    assert -0.2 < result["factor/size"].value < 0 and result["factor/size"].value != 0
    assert result["factor/turns"].value == 0.25 and result["factor/flip"].value == 0.5
    most = [s for s in LinearProbe().run(train, test) if s.baseline == "constant"]
    known = test.labels[test.labels >= 0]
    top = train.labels[train.labels >= 0].mode().values
    assert most[0].value == pytest.approx(float((known == top).double().mean()))


def test_rank_me_counts_directions() -> None:
    eye = torch.eye(12).repeat(5, 1)
    assert rank_me(eye) == pytest.approx(12, rel=1e-9)
    assert rank_me(eye.T) == pytest.approx(12, rel=1e-9)
    assert rank_me(torch.ones(30, 1) * torch.arange(1.0, 9)) == pytest.approx(1, abs=1e-3)
    assert rank_me(torch.zeros(5, 3)) == 0


def test_rank_me_of_two_known_singular_values() -> None:
    singular = torch.tensor([0.75, 0.25])
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert rank_me(torch.diag(singular)) == pytest.approx(expected)


def test_std_of_healthy_and_collapsed_features() -> None:
    healthy = torch.randn(4000, 16, generator=torch.Generator().manual_seed(0))
    assert embedding_std(healthy) == pytest.approx(1 / 4, rel=0.02)
    collapsed = torch.ones(50, 16)
    assert embedding_std(collapsed) == pytest.approx(0, abs=1e-9)
    assert uniformity(collapsed) == pytest.approx(0, abs=1e-9)


def test_uniformity_and_alignment_equal_the_double_loop() -> None:
    g = torch.Generator().manual_seed(0)
    a, b = (F.normalize(torch.randn(23, 5, generator=g).double(), dim=1) for _ in range(2))
    pairs = [math.exp(-2 * float((a[i] - a[j]).square().sum())) for i in range(23) for j in range(i)]
    assert uniformity(3 * a) == pytest.approx(math.log(sum(pairs) / len(pairs)))
    assert alignment(a, 2 * b) == pytest.approx(float((a - b).square().sum(1).mean()))


def test_a_score_is_plain_data() -> None:
    row = Score("knn/top1", 0.5, extra={"k": 3}).row()
    assert row["name"] == "knn/top1" and row["extra"] == {"k": 3} and row["low"] is None
