"""Selecting evaluations by name, and running them on one encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from equissl.config import overrides, registry
from equissl.config.registry import Entry
from equissl.errors import UserError, nearest
from equissl.evaluate.base import Evaluation, Named, Score
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext

EvaluationLike = Evaluation | EncoderEvaluation
# A few seconds each, given features.
DEFAULT = ("linearprobe", "knn", "factors", "collapse", "equivariance", "retrieval")


def entries(*kinds: type[Named]) -> list[Entry]:
    """Registry entries of every evaluation that derives from ``kinds``, sorted by kind."""
    return [e for kind in kinds for e in registry.subclasses(kind)]


def available() -> dict[str, EvaluationLike]:
    """Every evaluation by name, with its default settings."""
    return {e.name: e.value() for e in sorted(entries(Evaluation, EncoderEvaluation), key=lambda e: e.name)}


def select_evaluations(
    names: Sequence[str] = ("usual",), settings: Mapping[str, str] | None = None, seed: int = 0
) -> dict[str, EvaluationLike]:
    """Evaluations by name.

    Args:
        names: of evaluations; "usual" stands for ``DEFAULT``, "all" for all.
        settings: as text, "knn.k" -> "200".
        seed: of every evaluation that has one, unless ``settings`` say otherwise.

    Raises:
        UserError: with every unknown name and setting, and every impossible value.
    """
    known = available()
    aliases = {"usual": DEFAULT, "all": tuple(known)}
    selected = dict.fromkeys(n for name in names for n in aliases.get(name, (name,)))
    problems = [
        f"evaluations: none is called {n!r}; {nearest(n, [*known, *aliases])}"
        for n in selected
        if n not in known
    ]
    if not selected:
        problems.append(f"evaluations: none is named; {nearest('', [*known, *aliases])}")
    for path in settings or {}:
        name = path.partition(".")[0]
        if name not in known:
            problems.append(
                f"{path}: there is no such setting and no such evaluation; "
                f"{nearest(path, overrides.setting_paths(known))}"
            )
        elif name not in selected:
            problems.append(f"{path}: {name} is not selected; add it: evaluations=usual,{name}")
    if problems:
        raise UserError(problems)
    return overrides.override({name: _seeded(known[name], seed) for name in selected}, settings or {})


def run_evaluations(
    evaluations: Mapping[str, EvaluationLike], context: EvaluationContext, strict: Sequence[str] = ()
) -> list[Score]:
    """All scores of the evaluations that are available here.

    Args:
        strict: names of evaluations that must be available.

    Raises:
        UserError: why any of ``strict`` is not available, before anything long is computed.
    """
    reasons = {name: _unavailable_reason(e, context) for name, e in evaluations.items()}
    problems = [f"{name} cannot be measured: {reasons[name]}" for name in strict if reasons.get(name)]
    if problems:
        raise UserError(problems)
    scores: list[Score] = []
    for name, evaluation in evaluations.items():
        if reasons[name]:
            continue
        if isinstance(evaluation, Evaluation):
            results = evaluation.run(context.features("train"), context.features("test"))
        else:
            results = evaluation.run(context)
        scores += [s if s.paper else replace(s, paper=evaluation.paper) for s in results]
    return scores


def _unavailable_reason(evaluation: EvaluationLike, context: EvaluationContext) -> str:
    if isinstance(evaluation, Evaluation):
        return evaluation.unavailable_reason(context.features("train"), context.features("test"))
    return evaluation.unavailable_reason(context)


def _seeded(evaluation: Any, seed: int) -> EvaluationLike:
    names = {f.name for f in fields(evaluation)}
    seeded: EvaluationLike = replace(evaluation, seed=seed) if "seed" in names else evaluation
    return seeded
