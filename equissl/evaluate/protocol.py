"""Which evaluations there are, how they are chosen, and asking them of a subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from equissl.config import overrides, registry
from equissl.config.registry import Entry
from equissl.errors import UserError, nearest
from equissl.evaluate.base import Evaluation, Named, Score
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext

Question = Evaluation | EncoderEvaluation
USUAL = ("linearprobe", "knn", "factors", "collapse", "equivariance", "retrieval")  # seconds, given features


def entries(*kinds: type[Named]) -> list[Entry]:
    """Every evaluation that derives from ``kinds``, by its own name, sorted by kind."""
    return [e for kind in kinds for e in registry.subclasses(kind)]


def available() -> dict[str, Question]:
    """Every evaluation by its name, with its default settings."""
    return {e.name: e.value() for e in sorted(entries(Evaluation, EncoderEvaluation), key=lambda e: e.name)}


def choose(
    names: Sequence[str] = ("usual",), changes: Mapping[str, str] | None = None, seed: int = 0
) -> dict[str, Question]:
    """Evaluations by name.

    Args:
        names: of evaluations; "usual" stands for ``USUAL``, "all" for all.
        changes: settings as text, "knn.k" -> "200".
        seed: of every evaluation that has one, unless ``changes`` say otherwise.

    Raises:
        UserError: with every unknown name and setting, and every impossible value.
    """
    known = available()
    wide = {"usual": USUAL, "all": tuple(known)}
    wanted = dict.fromkeys(n for name in names for n in wide.get(name, (name,)))
    problems = [
        f"evaluations: none is called {n!r}; {nearest(n, [*known, *wide])}" for n in wanted if n not in known
    ]
    if not wanted:
        problems.append(f"evaluations: none is named; {nearest('', [*known, *wide])}")
    for path in changes or {}:
        name = path.partition(".")[0]
        if name not in known:
            problems.append(
                f"{path}: there is no such setting and no such evaluation; {nearest(name, known)}"
            )
        elif name not in wanted:
            problems.append(f"{path}: {name} is not among the evaluations; add it: evaluations=usual,{name}")
    if problems:
        raise UserError(problems)
    chosen = {name: _seeded(known[name], seed) for name in wanted}
    return overrides.override(chosen, changes or {})


def ask(
    questions: Mapping[str, Question], subject: EvaluationContext, strict: Sequence[str] = ()
) -> list[Score]:
    """Every score; a question without meaning here gives none.

    Args:
        strict: names whose having no meaning is the user's mistake.

    Raises:
        UserError: what is missing for each of ``strict``, before anything long is computed.
    """
    absent = {name: _missing(question, subject) for name, question in questions.items()}
    problems = [f"{name} cannot be measured: {absent[name]}" for name in strict if absent.get(name)]
    if problems:
        raise UserError(problems)
    scores: list[Score] = []
    for name, question in questions.items():
        if absent[name]:
            continue
        if isinstance(question, Evaluation):
            found = question.run(subject.features("train"), subject.features("test"))
        else:
            found = question.run(subject)
        scores += [s if s.paper else replace(s, paper=question.paper) for s in found]
    return scores


def _missing(question: Question, subject: EvaluationContext) -> str:
    if isinstance(question, Evaluation):
        return question.missing(subject.features("train"), subject.features("test"))
    return question.missing(subject)


def _seeded(question: Any, seed: int) -> Question:
    named = {f.name for f in fields(question)}
    seeded: Question = replace(question, seed=seed) if "seed" in named else question
    return seeded
