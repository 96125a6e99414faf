"""Audits for a terminal: the claim, a table and one sentence per factor, at any width from 40 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from equissl.report import display_names as names
from equissl.report.audit import equivariance_words, words
from equissl.report.audit.readings import Audit, Reading
from equissl.report.audit.section import comparisons
from equissl.report.rows import Row
from equissl.text import printable

LEAST = 40  # columns
CELLS = 12  # of a bar


def as_text(audits: Sequence[Audit], width: int = 80, paired: Sequence[Row] = ()) -> str:
    """All audits one after the other, then how they differ."""
    width = max(width, LEAST)
    lines = [line for audit in audits for line in _audit(audit, width)]
    for pair in comparisons(audits, paired):
        lines += ["", f"{pair['first'].name} against {pair['second'].name}, paired"]
        lines += _wrapped(f"{pair['claim']}.", width)
        lines += [s for r in pair["rows"] for s in _item(r["sentence"], width)]
    return printable("\n".join(lines))


def _audit(audit: Audit, width: int) -> Iterator[str]:
    yield ""
    for warning in words.warnings(audit):
        yield from _wrapped(f"warning: {warning}", width)
    yield from _wrapped(words.claim(audit), width)
    yield ""
    if width >= 70:
        yield from _table(audit)
        yield ""
    for reading in audit.readings:
        yield from _item(words.sentence(reading), width)
    for line in words.earlier_layers(audit):
        yield from _item(line, width)
    if audit.equivariance:
        yield ""
        yield from _wrapped(equivariance_words.claim(audit.equivariance), width)
        for found in audit.equivariance:
            yield from _item(equivariance_words.sentence(found), width)
    if decide := words.to_decide(audit):
        yield ""
        yield from _wrapped(decide, width)
    sentence, command = words.repair(audit)
    if sentence:
        yield ""
        yield from _wrapped(sentence, width)
        yield f"  {command}"


def _table(audit: Audit) -> Iterator[str]:
    """Columns of at most 78 characters: factor, bar from chance to 1, score, untrained, verdict."""
    longest = min(max(len(r.title) for r in audit.readings), 16)
    yield f"{'':{longest}}  {'chance':{CELLS - 1}}1  {'score [95 %]':21} {'untrained':13} verdict"
    for r in audit.readings:
        cut = r.title if len(r.title) <= longest else f"{r.title[: longest - 1]}…"
        ends = [_two(min(r.untrained)), _two(max(r.untrained))] if r.untrained else []
        band = "..".join(dict.fromkeys(ends))
        score = words.interval(r.score)
        yield f"{cut:{longest}}  {_bar(r)}  {score:21} {band:13} {_short(words.degree(r))}"


def _bar(reading: Reading) -> str:
    above = (reading.score.value - reading.chance) / (1 - min(reading.chance, 0.99))
    share = 0.0 if reading.verdict == "not readable" else above
    full = round(CELLS * min(max(share, 0.0), 1.0))
    return "█" * full + "·" * (CELLS - full)


def _short(degree: str) -> str:
    return {"as image statistics": "statistics", "below image statistics": "below statistics"}.get(
        degree, degree
    )


def _two(value: float) -> str:
    return names.decimal(value, 2)


def _item(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, width - 1, initial_indent="- ", subsequent_indent="  ")


def _wrapped(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, width - 1)
