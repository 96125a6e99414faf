"""Selecting evaluations by name, and running them on one encoder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from equissl.config import overrides, registry
from equissl.config.registry import Entry
from equissl.errors import UserError, nearest
from equissl.evaluate.base import Evaluation, Named, Score
from equissl.evaluate.classification.augmented_probe import (
    EQUIMOD_PROBE,
    ESSL_IMAGENET_BARLOW_TWINS,
    ESSL_IMAGENET_SIMCLR,
    ESSL_IMAGENET_SIMSIAM,
    ESSL_PROBE,
)
from equissl.evaluate.classification.fewshot import AUGSELF_FEW_SHOT
from equissl.evaluate.classification.knn import ESSL_KNN
from equissl.evaluate.classification.linear_probe import AUGSELF_LINEAR
from equissl.evaluate.classification.object_probe import SIE_CLASSIFICATION
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.equivariance.ranking import SIE_PROTOCOL
from equissl.evaluate.equivariance.retrieval import Retrieval
from equissl.evaluate.factors.relative import SIE_PAIRS
from equissl.progress import say_nothing

EvaluationLike = Evaluation | EncoderEvaluation
# A few seconds each, given features.
DEFAULT = ("linearprobe", "knn", "factors", "collapse", "equivariance", "retrieval")

# The papers' own protocols: names for ``evaluations``, each with what it computes. They count all images.
PROTOCOLS: Mapping[str, Mapping[str, EvaluationLike]] = {
    "essl": {"augmentedprobe": ESSL_PROBE, "knn": ESSL_KNN},
    "essl_imagenet_simclr": {"augmentedprobe": ESSL_IMAGENET_SIMCLR},
    "essl_imagenet_simsiam": {"augmentedprobe": ESSL_IMAGENET_SIMSIAM},
    "essl_imagenet_barlowtwins": {"augmentedprobe": ESSL_IMAGENET_BARLOW_TWINS},
    "equimod": {"augmentedprobe": EQUIMOD_PROBE},
    "sie": {
        "objectprobe": SIE_CLASSIFICATION,
        "relativefactors": SIE_PAIRS,
        "retrieval": Retrieval(protocol=SIE_PROTOCOL),
    },
    "augself": {"linearprobe": AUGSELF_LINEAR, "fewshot": AUGSELF_FEW_SHOT},
}


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
        names: of evaluations; "usual" stands for ``DEFAULT``, "all" for all but the costly ones, and a name
            of ``PROTOCOLS`` for its evaluations with its settings.
        settings: as text, "knn.k" -> "200".
        seed: of every evaluation that has one, unless ``settings`` say otherwise.

    Raises:
        UserError: with every unknown name and setting, and every impossible value.
    """
    known = available()
    affordable = tuple(name for name, evaluation in known.items() if not evaluation.costly)
    aliases = {"usual": DEFAULT, "all": affordable, **{name: tuple(p) for name, p in PROTOCOLS.items()}}
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
    protocols = [name for name in dict.fromkeys(names) if name in PROTOCOLS]
    for first, second in itertools.combinations(protocols, 2):
        if common := sorted(PROTOCOLS[first].keys() & PROTOCOLS[second].keys()):
            problems.append(
                f"evaluations: {first} and {second} both set {', '.join(common)}; run one after the other"
            )
    if problems:
        raise UserError(problems)
    for protocol in protocols:
        known |= PROTOCOLS[protocol]
    return overrides.override({name: _seeded(known[name], seed) for name in selected}, settings or {})


def named_evaluations(names: Sequence[str]) -> list[str]:
    """Evaluations that ``names`` ask for by name or by protocol, not as some of "usual" or "all"."""
    return [member for name in names for member in PROTOCOLS.get(name, (name,))]


def run_evaluations(
    evaluations: Mapping[str, EvaluationLike],
    context: EvaluationContext,
    strict: Sequence[str] = (),
    say: Callable[[str], object] = say_nothing,
) -> list[Score]:
    """All scores of the evaluations that are available here.

    Args:
        strict: names of evaluations that must be available.
        say: called with a line for each reason why something is left out.

    Raises:
        UserError: why any of ``strict`` is not available, before anything long is computed.
    """
    reasons = {name: _unavailable_reason(e, context) for name, e in evaluations.items()}
    problems = [f"{name} cannot be measured: {reasons[name]}" for name in strict if reasons.get(name)]
    if problems:
        raise UserError(problems)
    for line in left_out({name: reason for name, reason in reasons.items() if reason}):
        say(line)
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


def left_out(reasons: Mapping[str, str]) -> list[str]:
    """A line for each reason why evaluations are not measured.

    >>> left_out({"knn": "it needs labels", "linearprobe": "it needs labels"})
    ['left out: knn, linearprobe: it needs labels']
    """
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        by_reason.setdefault(reason, []).append(name)
    return [f"left out: {', '.join(named)}: {reason}" for reason, named in by_reason.items()]


def _unavailable_reason(evaluation: EvaluationLike, context: EvaluationContext) -> str:
    if isinstance(evaluation, Evaluation):
        return evaluation.unavailable_reason(context.features("train"), context.features("test"))
    return evaluation.unavailable_reason(context)


def _seeded(evaluation: Any, seed: int) -> EvaluationLike:
    names = {f.name for f in fields(evaluation)}
    seeded: EvaluationLike = replace(evaluation, seed=seed) if "seed" in names else evaluation
    return seeded
