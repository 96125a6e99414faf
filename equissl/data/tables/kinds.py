"""Kinds of measured factors, and which column of a table is of which kind, and who said so."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from equissl.errors import UserError, nearest

KINDS = ("real", "circular(PERIOD)", "binary", "category", "quaternion", "time", "none")
DEGREES = "_degrees"  # the ending of a column of angles
_WORDS = tuple(kind.partition("(")[0] for kind in KINDS)
_KIND = re.compile(r"([a-z]+)(?:\(([^()]*)\))?")
_QUATERNIONS = (("_w", "_x", "_y", "_z"), ("_0", "_1", "_2", "_3"))  # endings of its four columns


@dataclass(frozen=True)
class Kind:
    """A kind of factor: one of ``KINDS``, with the period of "circular"."""

    word: str
    period: float = 0.0

    def __str__(self) -> str:
        return f"{self.word}({self.period:.10g})" if self.period else self.word


@dataclass(frozen=True)
class Choice:
    """A factor that a table measures.

    Args:
        name: of the factor.
        kind: what it is.
        columns: its columns, four of a quaternion.
        source: who said so: "data.factors", the name of the file beside the table, "the header", or "its
            ending".
    """

    name: str
    kind: Kind
    columns: tuple[str, ...]
    source: str


def parse_kind(text: str) -> Kind:
    """A kind as users write it.

    >>> parse_kind("circular(360)")
    Kind(word='circular', period=360.0)

    Raises:
        UserError: there is no such kind; the message names the nearest.
    """
    match = _KIND.fullmatch(text.strip())
    if match is None or match[1] not in _WORDS:
        raise UserError(f"{text[:60]!r} is no kind of factor; {nearest(text[:60], KINDS)}")
    if match[1] != "circular":
        if match[2] is not None:
            raise UserError(f"{text[:60]!r}: {match[1]} takes nothing in brackets")
        return Kind(match[1])
    try:
        period = float(match[2] or "")
    except ValueError:
        period = math.nan
    if not 0 < period < math.inf:
        raise UserError(f"{text[:60]!r}: expected a period above 0, such as circular(360)")
    return Kind("circular", period)


def is_kind(text: str) -> bool:
    """Whether a text is meant as a kind: one of ``KINDS``, or spelled nearly so."""
    word = text.strip().partition("(")[0]
    return word in _WORDS or bool(word and difflib.get_close_matches(word, _WORDS, n=1, cutoff=0.75))


def split_factors(factors: Sequence[str]) -> dict[str, str]:
    """Name -> kind of factors written as ``NAME:KIND``.

    >>> split_factors(["yaw:circular(360)", "ripeness:real"])
    {'yaw': 'circular(360)', 'ripeness': 'real'}

    Raises:
        UserError: one is not written so, or a name stands there twice.
    """
    kinds: dict[str, str] = {}
    for text in factors:
        name, colon, kind = text.rpartition(":")
        if not colon or not name.strip():
            raise UserError(f"{text[:80]!r}: expected NAME:KIND, such as yaw:circular(360)")
        parse_kind(kind)
        if kinds.setdefault(name.strip(), kind.strip()) != kind.strip():
            raise UserError(f"{name.strip()!r} has two kinds, {kinds[name.strip()]} and {kind.strip()}")
    return kinds


def choose(
    columns: Sequence[str], roles: Sequence[str], said: Mapping[str, Mapping[str, str]]
) -> tuple[Choice, ...]:
    """The factors of a table, in the order of its columns.

    Args:
        columns: its names.
        roles: columns of files, groups and labels; they are factors only if someone says so.
        said: source -> (name -> kind), the source that counts least first; "none" is no factor.

    Raises:
        UserError: a column that does not exist, or no such kind.
    """
    chosen = {n: (Kind("circular", 360.0), "its ending") for n in columns if _is_angle(n) and n not in roles}
    for source, kinds in said.items():
        for name, text in kinds.items():
            try:
                kind = parse_kind(text)
                factor = _stem(name) if kind.word == "quaternion" and name in columns else name
                if kind.word != "none" or factor not in chosen:
                    _columns_of(factor, kind, columns)
            except UserError as error:
                raise UserError([f"{source}: {name}: {p}" for p in error.problems]) from None
            chosen[factor] = (kind, source)
    found = [
        Choice(name, kind, _columns_of(name, kind, columns), source)
        for name, (kind, source) in chosen.items()
        if kind.word != "none"
    ]
    return tuple(sorted(found, key=lambda c: columns.index(c.columns[0])))


def _is_angle(name: str) -> bool:
    return name.endswith(DEGREES) and name != DEGREES


def _stem(name: str) -> str:
    """The name of a quaternion, from that of one of its columns."""
    ending = any(name.endswith(endings) for endings in _QUATERNIONS)
    return name[:-2] if ending else name


def _columns_of(name: str, kind: Kind, columns: Sequence[str]) -> tuple[str, ...]:
    if kind.word != "quaternion":
        if name not in columns:
            raise UserError(f"the table has no such column; {nearest(name, columns)}")
        return (name,)
    for endings in _QUATERNIONS:
        if all(f"{name}{e}" in columns for e in endings):
            return tuple(f"{name}{e}" for e in endings)
    raise UserError(f"a quaternion needs the columns {name}_w, {name}_x, {name}_y and {name}_z (or _0 to _3)")
