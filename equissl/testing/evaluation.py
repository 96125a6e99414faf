"""Checks that every evaluation of features must pass, for anyone who writes one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
import torch.nn.functional as F

from equissl.evaluate.base import Evaluation, FeatureTable, Score
from equissl.params import Binary, Circular, Cyclic, Params, Real, Rotation, Space
from equissl.random import Stream

PERFECT_IS_1 = {"fraction", "R2", "balanced accuracy"}  # units of scores that are 1 for perfect features
SPACE = Space((Real("size"), Circular("hue"), Binary("flip"), Cyclic("turns"), Rotation("pose")))


def check_evaluation(evaluation: Evaluation) -> None:
    """Raise AssertionError, naming the law, if ``evaluation`` breaks one.

    Features that hold the targets score 1 and features of other images no better than chance; every test
    image counts once, in whatever order they come; an interval contains its value; two runs give the same
    scores and no global generator is touched; training groups are not split between fitting and validation;
    without labels and factors there are no scores and no error.
    """
    train, test = example_table(243, "train"), example_table(77, "test")
    scores = list(evaluation.run(train, test))
    assert scores, "an evaluation of labelled images with known factors must yield a score"
    _check_rows(scores, test)
    _check_perfect(scores)
    _check_shuffled(evaluation, train, test)
    _check_repeatable(evaluation, train, test, scores)
    _check_groups(evaluation)
    _check_unavailable(evaluation, train, test)


def example_table(count: int, name: str) -> FeatureTable:
    """Images in groups of three whose features are their label and their factors; some have no label."""
    index = torch.arange(count)
    stream = Stream.of(index, name)
    values = {
        "size": stream.normal("size"),
        "hue": stream.uniform("hue", high=6.28),
        "flip": stream.chance("flip", 0.5)[:, None].float(),
        "turns": stream.integers("turns", 4)[:, None].float(),
        "pose": F.normalize(stream.normal("pose", 4), dim=1),
    }
    params = Params.of(SPACE, values)
    labels = stream.integers("label", 3)
    targets = F.one_hot(labels, 3) * 4.0
    vectors = torch.cat([targets, params.encode()], 1)
    labels = torch.where(index % 11 == 5, -1, labels)
    parts = {"targets": slice(0, vectors.shape[1]), "all": slice(0, vectors.shape[1])}
    return FeatureTable(vectors, labels, params, index // 3, parts)


def _check_rows(scores: list[Score], test: FeatureTable) -> None:
    labelled = int((test.labels >= 0).sum())
    for s in scores:
        where = f"{s.name} ({s.part}, {s.baseline or 'model'})"
        counted = s.count in (len(test), labelled) or "ways" in s.extra or s.unit not in PERFECT_IS_1
        assert counted, f"{where} counts {s.count}"
        if s.low is not None and s.high is not None:
            assert s.low <= s.value <= s.high, f"the interval of {where} does not contain its value"
        if s.unit == "fraction":
            hits = s.value * s.count * int(str(s.extra.get("repeats", 1)))
            assert abs(hits - round(hits)) < 1e-4, f"{where} is no fraction of {s.count} images"
    keys = [(s.name, s.part, s.baseline) for s in scores]
    assert len(set(keys)) == len(keys), f"two scores share a name: {keys}"


def _check_perfect(scores: list[Score]) -> None:
    for s in _perfect_is_1(scores):
        assert s.value > 0.95, f"{s.name} gives features that hold the targets only {s.value:.3f}"


def _check_shuffled(evaluation: Evaluation, train: FeatureTable, test: FeatureTable) -> None:
    scores = list(evaluation.run(_shuffled(train), _shuffled(test)))
    constant = {s.name: s.value for s in scores if s.baseline == "constant"}
    for s in _perfect_is_1(scores):
        chance = constant.get(s.name, 1 / 3)
        assert s.value < chance + 0.25, f"{s.name} scores {s.value:.3f} on other images' features"


def _check_repeatable(
    evaluation: Evaluation, train: FeatureTable, test: FeatureTable, scores: list[Score]
) -> None:
    before = torch.get_rng_state()
    assert list(evaluation.run(train, test)) == scores, "two runs gave different scores"
    assert torch.equal(before, torch.get_rng_state()), "an evaluation touched the global generator"
    backwards = list(evaluation.run(train, test[torch.arange(len(test)).flip(0)]))
    for s, t in zip(scores, backwards, strict=True):
        close = abs(s.value - t.value) < 1e-4 * max(1.0, abs(s.value))
        assert close, f"{s.name} depends on the order of the test images"


def _check_groups(evaluation: Evaluation) -> None:
    """Features that only identify the group: memorising them must not look like a good setting."""
    train, test = _group_features("train"), _group_features("test")
    for s in _perfect_is_1(evaluation.run(train, test)):
        if s.unit == "R2":
            assert s.value > -0.4, f"{s.name} was chosen on groups it was fitted on: {s.value:.3f}"


def _group_features(name: str) -> FeatureTable:
    group = torch.arange(480) // 6
    stream = Stream.of(group, name, "groups")
    params = Params.of(Space((Real("size"),)), {"size": stream.normal("size")})
    return FeatureTable(stream.normal("vector", 64), group % 3, params, group, {"all": slice(0, 64)})


def _check_unavailable(evaluation: Evaluation, train: FeatureTable, test: FeatureTable) -> None:
    blank = [
        replace(t, labels=torch.full_like(t.labels, -1), params=Space().neutral(len(t)))
        for t in (train, test)
    ]
    scores = _perfect_is_1(evaluation.run(*blank))
    assert not scores, f"there are no labels and no factors, but scores {[s.name for s in scores]}"


def _shuffled(table: FeatureTable) -> FeatureTable:
    order = Stream.of(torch.arange(len(table)), "check").keys.argsort()
    return replace(table, vectors=table.vectors[order])


def _perfect_is_1(scores: Iterable[Score]) -> list[Score]:
    return [s for s in scores if s.unit in PERFECT_IS_1 and not s.baseline]
