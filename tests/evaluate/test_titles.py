"""Every score of the package says what it is called, where it stands and which end is better."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch

from equissl.config import registry
from equissl.config.components import bibtex_of
from equissl.config.registry import Entry
from equissl.evaluate import titles
from equissl.evaluate.audit.audit import audit
from equissl.evaluate.audit.options import AuditOptions
from equissl.evaluate.base import Evaluation, Score
from equissl.evaluate.context import EncoderEvaluation
from equissl.evaluate.factors.absolute import Factors
from equissl.photonics.fine_tuning import _score
from equissl.testing.encoder_evaluation import example_context
from equissl.testing.evaluation import example_table

FROM_FEATURES = registry.subclasses(Evaluation)
FROM_ENCODERS = registry.subclasses(EncoderEvaluation)


def check(scores: Iterable[Score]) -> None:
    named: dict[tuple[str, str, str], str] = {}
    for s in scores:
        assert s.title and not s.title.removeprefix("kNN")[0].islower() and "_" not in s.title, s
        assert s.group in vars(titles).values(), s
        assert (s.higher_is_better is None) == (s.group in titles.DIAGNOSTICS), s
        assert not s.paper or bibtex_of(s.paper), s
        other = named.setdefault((s.group, s.title, s.unit), s.name)
        assert other == s.name, f"{other} and {s.name} are both called {s.title!r}"


@pytest.mark.parametrize("entry", FROM_FEATURES, ids=lambda e: e.name)
def test_scores_of_features(entry: Entry) -> None:
    scores = list(entry.value.example().run(example_table(120, "train"), example_table(60, "test")))
    check(scores)
    _check_declared(entry.value, scores)


@pytest.mark.parametrize("entry", FROM_ENCODERS, ids=lambda e: e.name)
def test_scores_of_encoders(entry: Entry) -> None:
    scores = list(entry.value.example().run(example_context()))
    check(scores)
    _check_declared(entry.value, scores)


def test_scores_of_the_network_probe() -> None:
    scores = list(Factors(probe="both").run(example_table(120, "train"), example_table(60, "test")))
    check(scores)
    assert {s.title for s in scores} >= {"Hue", "Hue (MLP probe)", "Hue (MLP probe, mean over columns)"}


def test_scores_of_an_audit() -> None:
    context = example_context(270)
    scores = audit(
        context.encoder,
        context.datasets["test"],
        AuditOptions(factors=("hue", "horizontal_flip"), count=150, draws=1),
    )
    check(scores)
    assert {s.group for s in scores} == {titles.AUDIT}


def test_scores_of_a_downstream_task() -> None:
    score = _score(100, torch.ones(4, 3), torch.full((4, 3), 2.0), 0)
    assert score.title == "Error of the density of states, 100 labels" and score.group
    assert score.higher_is_better is False


def _check_declared(cls: Any, scores: list[Score]) -> None:
    assert {s.name.partition("/")[0] for s in scores} <= set(cls.scores)
    if cls.needs_labels and issubclass(cls, Evaluation):
        table = example_table(60, "test")
        blank = type(table)(table.vectors, table.labels * 0 - 1, table.params, table.groups, table.parts)
        assert cls.example().unavailable_reason(blank, blank) and not list(cls.example().run(blank, blank))


def test_labels_are_declared_where_they_are_needed() -> None:
    """A study that measures nothing else is refused before it trains on images without labels."""
    needing = {e.name for e in [*FROM_FEATURES, *FROM_ENCODERS] if e.value.needs_labels}
    assert needing == {
        "linearprobe",
        "sgdprobe",
        "augmentedprobe",
        "objectprobe",
        "knn",
        "fewshot",
        "finetune",
    }
