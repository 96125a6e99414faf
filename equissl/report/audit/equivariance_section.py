"""Equivariance on the page as data for its template: cards of factors, tracks in per cent of their width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from equissl.report import display_names as names
from equissl.report.audit import equivariance_words as said
from equissl.report.audit import figures as drawn
from equissl.report.audit import words
from equissl.report.audit.equivariance import Change, Equivariance
from equissl.report.audit.readings import REFERENCES, Audit
from equissl.report.figures import SHAPES

END = 1.1  # of the axis, in errors of no map


@dataclass(frozen=True)
class Track:
    """The error of a linear map for one change; places are per cent of the axis.

    Args:
        bound: the least error without a fit.
        band: of untrained networks, from the lowest to the highest.
        marks: (reference, place, error).
    """

    title: str
    score: str
    margin: str
    value: float
    low: float
    high: float
    bound: float
    band: tuple[float, float] | None
    marks: tuple[tuple[str, float, str], ...]


@dataclass(frozen=True)
class Entry:
    """One encoder's equivariance to one factor.

    Args:
        tone: of the word: "good" or "none".
    """

    audit: Audit
    word: str
    tone: str
    sentence: str
    tracks: tuple[Track, ...]
    numbers: tuple[tuple[str, str], ...]


def context(audits: Sequence[Audit]) -> dict[str, Any]:
    """What ``audit_equivariance.html.j2`` shows; nothing if nothing was measured."""
    measured = [a for a in audits if a.equivariance]
    factors: dict[str, list[tuple[Audit, Equivariance]]] = {}
    for audit in measured:
        for found in audit.equivariance:
            factors.setdefault(found.factor, []).append((audit, found))
    entries = [(of_one[0][1].title, [_entry(a, e) for a, e in of_one]) for of_one in factors.values()]
    every = [c for a in measured for e in a.equivariance for c in e.changes]
    return {
        "equivariance_claims": [(a, c) for a in measured if (c := said.claim(a.equivariance))],
        "equivariances": entries,
        "equivariance_tracks": any(c.error for c in every),
        "equivariance_band": any(c.untrained for c in every),
        "equivariance_marks": [n for n in REFERENCES if any(n in c.references for c in every)],
        "sensitivity": [drawn.sensitivity(measured, shape) for shape in SHAPES],
    }


def _entry(audit: Audit, found: Equivariance) -> Entry:
    word = said.degree(found)
    return Entry(
        audit,
        word,
        "good" if word in ("linear", "partly linear") else "none",
        said.sentence(found).partition(": ")[2],
        tuple(_track(c) for c in found.changes if c.error),
        tuple(numbers(found)),
    )


def _track(change: Change) -> Track:
    error = change.error
    assert error is not None
    low, high = (error.value if v is None else v for v in (error.low, error.high))
    score, _, margin = words.interval(error).partition(" ")
    band = (_place(min(change.untrained)), _place(max(change.untrained))) if change.untrained else None
    return Track(
        change.title,
        score,
        margin,
        _place(error.value),
        _place(low),
        _place(high),
        _place(change.bound),
        band,
        tuple((n, _place(i.value), names.decimal(i.value, 2)) for n, i in change.references.items()),
    )


def _place(error: float) -> float:
    return round(100 * min(max(error / END, 0.0), 1.0), 2)


def numbers(found: Equivariance) -> Iterator[tuple[str, str]]:
    """(what, number) pairs of all that was measured."""
    for c in found.changes:
        title = words.lower(c.title)
        yield f"{title}: features move by", words.interval(c.moved)
        if c.error is None:
            continue
        yield f"{title}: error of a linear map", words.interval(c.error)
        if c.trivial:
            without = ", ".join(f"{n} {names.decimal(v, 2)}" for n, v in c.trivial.items())
            yield f"{title}: errors without a fit", without
        if c.untrained:
            yield f"{title}: untrained networks", ", ".join(names.decimal(v, 2) for v in c.untrained)
        if c.to_untrained:
            yield f"{title}: ratio to untrained", words.interval(c.to_untrained)
        for reference, error in c.references.items():
            yield f"{title}: {REFERENCES[reference]}", words.interval(error)
    for p in found.products:
        whole = "no change" if p.whole == "unchanged" else _named(p.whole)
        yield f"{_named(p.first)}, then {_named(p.second)}, against {whole}", words.interval(p.error)
    if found.curve:
        for strength, moved in found.curve.points:
            yield f"moved at {strength:g} ({found.curve.unit}), cosine", words.interval(moved)
    for prediction in found.predictions:
        others = "".join(f"; {n} {names.decimal(v, 2)}" for n, v in prediction.baselines.items())
        yield f"{prediction.module}: {prediction.title}", words.interval(prediction.error) + others


def _named(change: str) -> str:
    return words.lower(names.label(change))
