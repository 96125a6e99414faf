"""What a verb accepts, and what a command line gave it; nothing here imports torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from equissl.config.parse import parse
from equissl.errors import UserError, nearest


@dataclass(frozen=True)
class Key:
    """One ``name=value``; ``hint`` is its type."""

    name: str
    hint: Any
    line: str
    default: Any = None
    required: bool = False


@dataclass(frozen=True)
class Verb:
    """One thing the command does.

    Args:
        things: what stands before the keys in the usage line, "" for nothing; "..." at its end means many.
        target: ``module:function`` called with ``Given``.
        settings: whether ``path.to.field=value`` of the recipe, or of what ``more`` tells of, is accepted.
        more: ``module:function`` whose text ends the help, instead of a word on recipe settings.
        examples: command lines that work.
        kinds: verbs called by a second word, "render solids"; nothing else counts but name and line.
    """

    name: str
    line: str
    target: str = ""
    things: str = ""
    optional: bool = False
    keys: tuple[Key, ...] = ()
    settings: bool = False
    more: str = ""
    examples: tuple[str, ...] = ()
    kinds: tuple[Verb, ...] = ()

    def help(self) -> str:
        """What ``more`` has to say."""
        module, _, function = self.more.partition(":")
        told: Callable[[], str] = getattr(importlib.import_module(module), function)
        return told()

    def run(self, given: Given) -> int:
        module, _, function = self.target.partition(":")
        action: Callable[[Given], int | None] = getattr(importlib.import_module(module), function)
        return action(given) or 0


@dataclass(frozen=True)
class Given:
    """A command line after parsing.

    Args:
        things: the words that are no settings.
        values: every key of the verb with its value or default.
        settings: recipe settings by path, as text.
        problems: mistakes found so far, for the verb to report together with its own.
    """

    things: tuple[str, ...]
    values: dict[str, Any]
    settings: dict[str, str]
    problems: list[str] = field(default_factory=list)

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def check(self, *attempts: Callable[[], object]) -> None:
        """Run checks and raise all mistakes at once, those of the command line first.

        Raises:
            UserError: if there is any.
        """
        for attempt in attempts:
            try:
                attempt()
            except UserError as error:
                self.problems.extend(error.problems)
        if self.problems:
            raise UserError(self.problems)


def read(verb: Verb, words: Sequence[str]) -> Given:
    """Sort the words of a command line into things, keys and recipe settings."""
    known = {k.name: k for k in verb.keys}
    values = {k.name: k.default for k in verb.keys}
    things: list[str] = []
    settings: dict[str, str] = {}
    problems: list[str] = []
    seen: set[str] = set()
    for word in words:
        name, is_key, text = word.lstrip("-").partition("=")
        if is_key and name in seen:
            problems.append(f"{name}: given twice")
        seen |= {name} if is_key else set()
        if word.startswith("=") or not word:
            problems.append(f"{word!r}: settings are written as key=value, without spaces around =")
        elif not is_key:
            (problems if word.startswith("-") else things).append(_flag(word) if word[0] == "-" else word)
        elif name in known:
            try:
                values[name] = parse(text, known[name].hint, name)
            except UserError as error:
                problems += error.problems
        elif verb.settings:
            settings[name] = text
        else:
            problems.append(
                f"{name}={text}: `equissl {verb.name}` has no setting {name!r}; {nearest(name, known)}"
            )
    problems += [f"{k.name}=... is missing: {k.line}" for k in verb.keys if k.required and _absent(values, k)]
    problems += _count(verb, things)
    return Given(tuple(things), values, settings, problems)


def _absent(values: dict[str, Any], key: Key) -> bool:
    return values[key.name] is None


def _flag(word: str) -> str:
    return f"{word}: settings are written as key=value, without dashes"


def _count(verb: Verb, things: Sequence[str]) -> list[str]:
    if not verb.things and things:
        return [f"{things[0]!r}: `equissl {verb.name}` takes only key=value settings"]
    if verb.things and not things and not verb.optional:
        return [f"{verb.things} is missing: `equissl {verb.name} {verb.things} ...`"]
    if verb.things and not verb.things.endswith("...") and len(things) > 1:
        return [f"{things[1]!r}: `equissl {verb.name}` takes one {verb.things}"]
    return []
