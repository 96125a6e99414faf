"""The laws an evaluation obeys, for anyone who writes one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
import torch.nn.functional as F

from equissl.evaluate.base import Evaluation, Score, Table
from equissl.params import Binary, Circular, Cyclic, Params, Real, Rotation, Space
from equissl.random import Stream

READ = {"share", "R2", "balanced accuracy"}  # units of a number that is 1 for perfect features
SPACE = Space((Real("size"), Circular("hue"), Binary("flip"), Cyclic("turns"), Rotation("pose")))


def check_evaluation(evaluation: Evaluation) -> None:
    """Raise AssertionError, naming the law, if ``evaluation`` breaks one.

    Features that are the answer score 1 and features of other images score no better than chance;
    every test image counts once, in whatever order they come; an interval holds its value; the same
    question gets the same answer and no global generator is touched; training groups are not split
    between fitting and choosing; a question without meaning gets no answer instead of an error.
    """
    train, test = example_table(243, "train"), example_table(77, "test")
    scores = list(evaluation.run(train, test))
    assert scores, "an evaluation of labelled images with known factors must yield a score"
    _check_rows(scores, test)
    _check_perfect(scores)
    _check_shuffled(evaluation, train, test)
    _check_repeatable(evaluation, train, test, scores)
    _check_groups(evaluation)
    _check_meaningless(evaluation, train, test)


def example_table(count: int, name: str) -> Table:
    """Images in groups of three whose features are their label and their factors; some lack a label."""
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
    answers = F.one_hot(labels, 3) * 4.0
    vectors = torch.cat([answers, params.encode()], 1)
    labels = torch.where(index % 11 == 5, -1, labels)
    parts = {"answer": slice(0, vectors.shape[1]), "all": slice(0, vectors.shape[1])}
    return Table(vectors, labels, params, index // 3, parts)


def _check_rows(scores: list[Score], test: Table) -> None:
    labelled = int((test.labels >= 0).sum())
    for s in scores:
        where = f"{s.name} ({s.part}, {s.baseline or 'model'})"
        counted = s.count in (len(test), labelled) or "ways" in s.extra or s.unit not in READ
        assert counted, f"{where} counts {s.count}"
        if s.low is not None and s.high is not None:
            assert s.low <= s.value <= s.high, f"the interval of {where} does not hold its value"
        if s.unit == "share":
            hits = s.value * s.count * int(str(s.extra.get("repeats", 1)))
            assert abs(hits - round(hits)) < 1e-4, f"{where} is no share of {s.count} images"
    keys = [(s.name, s.part, s.baseline) for s in scores]
    assert len(set(keys)) == len(keys), f"two scores share a name: {keys}"


def _check_perfect(scores: list[Score]) -> None:
    for s in _read(scores):
        assert s.value > 0.95, f"{s.name} gives features that are the answer only {s.value:.3f}"


def _check_shuffled(evaluation: Evaluation, train: Table, test: Table) -> None:
    scores = list(evaluation.run(_shuffled(train), _shuffled(test)))
    floor = {s.name: s.value for s in scores if s.baseline == "constant"}
    for s in _read(scores):
        chance = floor.get(s.name, 1 / 3)
        assert s.value < chance + 0.25, f"{s.name} reads {s.value:.3f} from other images' features"


def _check_repeatable(evaluation: Evaluation, train: Table, test: Table, scores: list[Score]) -> None:
    before = torch.get_rng_state()
    assert list(evaluation.run(train, test)) == scores, "the same question got two answers"
    assert torch.equal(before, torch.get_rng_state()), "an evaluation touched the global generator"
    backwards = list(evaluation.run(train, test[torch.arange(len(test)).flip(0)]))
    for s, t in zip(scores, backwards, strict=True):
        close = abs(s.value - t.value) < 1e-4 * max(1.0, abs(s.value))
        assert close, f"{s.name} depends on the order of the test images"


def _check_groups(evaluation: Evaluation) -> None:
    """Features that only name the group: learning them by heart must not look like a good choice."""
    train, test = _named_groups("train"), _named_groups("test")
    for s in _read(evaluation.run(train, test)):
        if s.unit == "R2":
            assert s.value > -0.4, f"{s.name} was chosen on groups it was fitted on: {s.value:.3f}"


def _named_groups(name: str) -> Table:
    group = torch.arange(480) // 6
    stream = Stream.of(group, name, "groups")
    params = Params.of(Space((Real("size"),)), {"size": stream.normal("size")})
    return Table(stream.normal("vector", 64), group % 3, params, group, {"all": slice(0, 64)})


def _check_meaningless(evaluation: Evaluation, train: Table, test: Table) -> None:
    blank = [
        replace(t, labels=torch.full_like(t.labels, -1), params=Space().neutral(len(t)))
        for t in (train, test)
    ]
    found = _read(evaluation.run(*blank))
    assert not found, f"there is nothing to read, but {[s.name for s in found]} was"


def _shuffled(table: Table) -> Table:
    order = Stream.of(torch.arange(len(table)), "check").keys.argsort()
    return replace(table, vectors=table.vectors[order])


def _read(scores: Iterable[Score]) -> list[Score]:
    return [s for s in scores if s.unit in READ and not s.baseline]
