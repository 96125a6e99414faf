"""Few-shot episodes: against a slow reference, at chance, and without groups on both sides."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from equissl.evaluate.base import FeatureTable
from equissl.evaluate.classification.fewshot import FewShot
from equissl.params import Space


def table(
    classes: int = 6, each: int = 12, noise: float = 0.5, width: int = 8, per_group: int = 1
) -> FeatureTable:
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(classes).repeat_interleave(each)
    vectors = torch.randn(classes, width, generator=g)[labels]
    vectors = vectors + noise * torch.randn(len(labels), width, generator=g)
    groups = torch.arange(len(labels)) // per_group
    return FeatureTable(vectors, labels, Space().neutral(len(labels)), groups, {"all": slice(0, width)})


def test_prototypes_equal_a_loop() -> None:
    data, probe = table(), FewShot(ways=3, shots=(2,), queries=3, episodes=20)
    data = data[data.canonical_order()]
    right = []
    for number in range(20):
        rows = probe._episode(data, 2, 3, number)
        assert rows is not None and len(set(rows.flatten().tolist())) == 15
        names = data.labels[rows]
        assert (names == names[:, :1]).all() and len(set(names[:, 0].tolist())) == 3
        for k, cls in enumerate(rows):
            for row in cls[2:]:
                query = F.normalize(data.vectors[row], dim=0)
                prototypes = [F.normalize(data.vectors[c[:2]], dim=1).mean(0) for c in rows]
                cosines = [float(F.cosine_similarity(query, mean, dim=0)) for mean in prototypes]
                right.append(cosines.index(max(cosines)) == k)
    score = next(probe.run(data, data))
    assert score.value == pytest.approx(sum(right) / len(right))
    assert score.count == 20 and score.extra["repeats"] == 9


def test_the_interval_is_the_papers() -> None:
    data = table(noise=1.5)
    probe = FewShot(ways=3, shots=(1,), queries=5, episodes=50)
    ordered = data[data.canonical_order()]
    rows = torch.stack([r for k in range(50) if (r := probe._episode(ordered, 1, 5, k)) is not None])
    each = probe._accuracy(F.normalize(ordered.vectors, dim=1)[rows], 1)
    score = next(probe.run(data, data))
    assert score.low is not None and 0.34 < score.value < 0.97
    assert score.value - score.low == pytest.approx(1.959964 * float(each.std(correction=0)) / 50**0.5)


def test_noise_is_at_chance_and_more_shots_help() -> None:
    noise = table(each=30)
    noise = replace(noise, vectors=torch.randn(180, 8, generator=torch.Generator().manual_seed(1)))
    score = next(FewShot(shots=(1,), episodes=200).run(noise, noise))
    assert score.value == pytest.approx(0.2, abs=0.03)
    one, five = FewShot(episodes=100).run(table(each=30, noise=1.5), table(each=30, noise=1.5))
    assert five.value > one.value + 0.05


def test_both_heads_read_separated_classes() -> None:
    for head in ("prototype", "logistic"):
        assert next(FewShot(episodes=5, head=head).run(table(noise=0.05), table(noise=0.05))).value > 0.97  # type: ignore[arg-type]


def test_no_object_is_in_both_support_and_query_set() -> None:
    data = table(classes=5, each=24, per_group=3)
    data = data[data.canonical_order()]
    for number in range(30):
        rows = FewShot()._episode(data, 1, 5, number)
        assert rows is not None
        groups = data.groups[rows].flatten().tolist()
        assert len(set(groups)) == len(groups)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (table(classes=3), "needs 5 classes among the labelled test images, but there are 3"),
        (table(each=1), "5 classes with 2 or more different test images"),
        (replace(table(), labels=torch.full((72,), -1)), "but there are 0"),
    ],
)
def test_too_little_is_said_and_gives_nothing(data: FeatureTable, expected: str) -> None:
    assert expected in FewShot().unavailable_reason(data, data)
    assert not list(FewShot().run(data, data))


def test_small_classes_leave_out_shots_and_queries() -> None:
    scores = list(FewShot(shots=(1, 5), episodes=10).run(table(each=4), table(each=4)))
    assert [s.name for s in scores] == ["fewshot/1"] and scores[0].extra["repeats"] == 15


@pytest.mark.parametrize("wrong", [{"ways": 1}, {"shots": ()}, {"queries": 0}, {"head": "tree"}])
def test_impossible_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FewShot(**wrong)  # type: ignore[arg-type]
