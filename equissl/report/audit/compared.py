"""Encoders compared by their audits, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from equissl.report import display_names as names
from equissl.report.audit.intervals import Interval
from equissl.report.audit.words import interval, lower, signed
from equissl.report.rows import text


def differences(rows: Sequence[Mapping[str, object]], first: str, second: str) -> str:
    """Two encoders compared, in one sentence.

    Args:
        rows: paired differences, with the fields "title" and "word".
    """
    groups = {w: [text(r["title"]) for r in rows if r["word"] == w] for w in ("more", "less")}
    clauses = []
    for word, (a, b) in (("more", (first, second)), ("less", (second, first))):
        if titles := groups[word]:
            clauses.append(f"{a} reads {names.listed([lower(t) for t in titles])} better than {b}")
    if not clauses:
        return f"there is no clear difference between {first} and {second}"
    return "; ".join(clauses)


def leaders(pairs: Sequence[tuple[str, str, Sequence[Mapping[str, object]]]], count: int) -> str:
    """Which of several encoders reads which factors better than all others, in one sentence.

    Args:
        pairs: two encoders and their paired differences, with the fields "title" and "word".
        count: of the encoders.
    """
    wins = Counter(
        (first if row["word"] == "more" else second, text(row["title"]))
        for first, second, rows in pairs
        for row in rows
        if row["word"] in ("more", "less")
    )
    best: dict[str, list[str]] = {}
    for (name, title), won in wins.items():
        if won == count - 1:
            best.setdefault(name, []).append(lower(title))
    clauses = [f"{name} reads {names.listed(titles)} better than all others" for name, titles in best.items()]
    return "; ".join(clauses) or f"none of {count} encoders reads a factor better than all others"


def comparison_sentence(row: Mapping[str, object], first: str, second: str) -> str:
    """One factor of two encoders."""
    found = Interval(*(float(str(row[k])) for k in ("value", "low", "high")))
    name = lower(text(row["title"]))
    match row["word"]:
        case "more":
            return f"{name}: {first} reads it better, by {interval(found)}"
        case "less":
            return f"{name}: {second} reads it better, by {interval(_negated(found))}"
        case "alike":
            return f"{name}: alike ({signed(found)}, {first} minus {second})"
    return f"{name}: undecided ({signed(found)}, {first} minus {second})"


def _negated(found: Interval) -> Interval:
    low, high = (None if v is None else -v for v in (found.high, found.low))
    return Interval(-found.value, low, high)
