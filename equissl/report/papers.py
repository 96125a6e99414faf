"""The papers behind some runs, from their ``components.json``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from equissl.report.rows import Run, text

_ENTRY = re.compile(r"@\w+\{[^@]*\n\}")  # entries end in a brace of their own line


@dataclass(frozen=True)
class Paper:
    """One BibTeX entry.

    Args:
        url: its page on arXiv, "" if it has none.
        used_by: titles of the methods and evaluations it stands behind.
    """

    title: str
    year: str
    url: str
    used_by: tuple[str, ...]
    bibtex: str


def papers(runs: Iterable[Run]) -> tuple[Paper, ...]:
    """Every paper that some runs list, once, oldest first."""
    used_by: dict[str, list[str]] = {}
    for run in runs:
        for row in run.components:
            for entry in _ENTRY.findall(text(row.get("bibtex"))):
                used_by.setdefault(entry, []).append(text(row.get("title")))
    found = [_paper(entry, names) for entry, names in used_by.items()]
    return tuple(sorted(found, key=lambda paper: (paper.year, paper.title)))


def _paper(entry: str, names: list[str]) -> Paper:
    arxiv = _value(entry, "eprint")
    url = f"https://arxiv.org/abs/{arxiv}" if re.fullmatch(r"\d{4}\.\d{4,5}", arxiv) else ""
    return Paper(_value(entry, "title"), _value(entry, "year"), url, tuple(dict.fromkeys(names)), entry)


def _value(entry: str, name: str) -> str:
    """A field without its braces and line breaks."""
    match = re.search(rf"\b{name} = \{{(.*?)\}},?\n", entry, re.DOTALL)
    return " ".join(match[1].split()).strip("{}") if match else ""
