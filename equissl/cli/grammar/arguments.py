"""Verbs, keys and parsed arguments: the command line as data; nothing here imports torch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from equissl.cli.grammar import outline
from equissl.config.parse import parse
from equissl.errors import UserError, nearest

SETTING = "setting"  # the option that collects what is no key of the verb, as path.to.field=value
_TYPES = {
    "N": int,
    "X": float,
    "DIR": Path,
    "FILE": Path,
    "MIN,MAX": tuple[float, ...],
    "R,G,B": tuple[float, ...],
    "true|false": bool,
}
_NAME = re.compile(r"[A-Za-z_][\w.-]*")


@dataclass(frozen=True)
class Key:
    """One ``key=value``.

    Args:
        usage: as the help shows it. What follows "=" is the type: N (integer), X (float), DIR or FILE (path),
            "true|false", "NAME,..." (a list), other alternatives ("timm|onnx"; an upper-case one stands for a
            path), else a text.
        choices: values to complete, or what they are in ``outline.CHOICES``.
        low, high: inclusive bounds of a number.
    """

    usage: str
    help: str
    default: Any = None
    required: bool = False
    choices: str | tuple[str, ...] = ()
    low: float = 0
    high: float = 2**31 - 1

    @property
    def name(self) -> str:
        return self.usage.partition("=")[0]

    @property
    def metavar(self) -> str:
        return self.usage.partition("=")[2]

    @property
    def type(self) -> Any:
        """For pydantic."""
        if self.alternatives and self.metavar.islower() and self.metavar not in _TYPES:
            return Literal[self.alternatives]
        return _TYPES.get(self.metavar, tuple[str, ...] if self.metavar.endswith(",...") else str)

    @property
    def alternatives(self) -> tuple[str, ...]:
        """The words among the alternatives, without those that stand for a path."""
        return tuple(a for a in self.metavar.split("|") if a.islower()) if "|" in self.metavar else ()

    def read(self, text: str) -> Any:
        """The value that ``text`` stands for.

        Raises:
            UserError: it is of another type, or out of bounds.
        """
        value = parse(text, self.type, self.name)
        if isinstance(value, int | float) and not self.low <= value <= self.high:
            bound = f"at least {self.low}" if value < self.low else f"at most {self.high}"
            raise UserError(f"{self.name} must be {bound}, got {text}")
        return value


@dataclass(frozen=True)
class Verb:
    """A command of ``equissl``.

    Args:
        target: ``module:function`` below ``equissl.cli``, called with the parsed arguments; it returns the
            exit code, or None for 0.
        positionals: what comes before the keys: "", "RUN", "MODEL..." (one or more) or "[NAME]" (optional).
            A verb with the key ``data`` also takes the folder of images as its last positional.
        settings: of what ``path.to.field=value`` is accepted and passed on: "recipe", "evaluations", "study",
            or "data", of which only ``data.NAME=value`` is.
        choices: values of the first positional, for completion, as in ``Key``; paths if empty.
        examples: command lines that work.
        verbs: called by a second word, as "render solids"; such a verb has only name, help and examples else.
    """

    name: str
    help: str
    target: str = ""
    positionals: str = ""
    keys: tuple[Key, ...] = ()
    settings: str = ""
    choices: str | tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    verbs: tuple[Verb, ...] = ()

    @property
    def usage(self) -> str:
        """The positionals, as the help shows them."""
        data = ["DATA" if k.required else "[DATA]" for k in self.keys if k.name == "data"]
        return " ".join([*self.positionals.split(), *data])


@dataclass(frozen=True)
class Arguments:
    """A command line after parsing.

    Args:
        positionals: the words that are no settings, without the folder of images.
        values: every key of the verb with its value or default.
        settings: of recipes or evaluations by path, as text.
        problems: mistakes found so far, for the verb to report together with its own.
    """

    positionals: tuple[str, ...]
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
                self.problems.extend(p for p in error.problems if p not in self.problems)
        if self.problems:
            raise UserError(self.problems)


def as_options(verb: Verb, words: Sequence[str], problems: list[str]) -> Iterator[str]:
    """A command line with every key as ``--key=value`` and every other setting as ``--setting=path=value``.

    ``key=value``, ``--key value`` and ``--key=value`` mean the same. A word with "=" is a positional if what
    stands before "=" cannot be the name of a setting (runs/lr=0.1), or is no key, the path exists and a
    positional is still missing.
    """
    keys, rest = {k.name for k in verb.keys}, iter(words)
    missing = math.inf if verb.positionals.endswith("...") else len(verb.usage.split())
    for word in rest:
        name, equals, value = word.removeprefix("--").partition("=")
        key = name.replace("-", "_")
        dashed = word.startswith("--")
        if word in ("-h", "--help"):
            yield word
        elif word == "--":
            yield from (word, *rest)
        elif dashed and not equals and (value := next(rest, "--")).startswith("--"):
            problems.append(f"{word}: the value is missing. Write {word} VALUE or {key}=VALUE.")
        elif not word or word[0] == "=" or (word[0] == "-" and not dashed):
            problems.append(f"{word!r}: cannot be parsed. Write key=value (no spaces around =) or --key X.")
        elif key in keys and (dashed or equals):
            yield f"--{key}={value}"
        elif dashed or (equals and _NAME.fullmatch(name) and not (missing and Path(word).exists())):
            yield f"--{SETTING}={key if dashed else name}={value}"
        else:
            missing = max(0, missing - 1)
            yield word


def read(
    verb: Verb, options: Mapping[str, Sequence[str]], words: Sequence[str], problems: list[str]
) -> Arguments:
    """Values of the right types from their texts; every mistake is added to ``problems``."""
    values, settings = {k.name: k.default for k in verb.keys}, {}
    texts = {n: list(t) for n, t in options.items() if n != SETTING and t}
    for name, _, text in (s.partition("=") for s in options[SETTING]):
        texts.setdefault(name, []).append(text)
    keys = {k.name: k for k in verb.keys}
    for name, repeated in texts.items():
        if len(repeated) > 1:
            problems.append(f"{name}: given {len(repeated)} times ({', '.join(repeated)}). Keep one.")
        if name in keys:
            try:
                values[name] = keys[name].read(repeated[-1])
            except UserError as error:
                problems += error.problems
        elif verb.settings and (verb.settings != "data" or name.startswith("data.")):
            settings[name] = repeated[-1]
        else:
            fields = outline.settings("data") if verb.settings == "data" else ()
            hint = nearest(name, (*keys, *fields))
            problems.append(f"{name}={repeated[-1]}: `equissl {verb.name}` has no key {name!r}; {hint}")
    positionals = _positionals(verb, list(words), values, "data" in texts, problems)
    problems += [
        f"{k.usage} is missing: {k.help}."
        for k in verb.keys
        if k.required and values[k.name] is None and k.name not in texts
    ]
    return Arguments(positionals, values, settings, problems)


def _positionals(
    verb: Verb, words: list[str], values: dict[str, Any], has_data: bool, problems: list[str]
) -> tuple[str, ...]:
    """The positionals of a verb; the folder of images is moved to ``values``."""
    slot = verb.positionals
    many, limit = slot.endswith("..."), 1 if slot else 0
    usage = " ".join(["Usage: equissl", verb.name, *verb.usage.split(), "[key=value ...]"])
    if "data" in values and not has_data and words:
        is_folder = len(words) > 1 or Path(words[-1]).expanduser().is_dir()
        if (is_folder and not _is_model(words[-1])) if many else len(words) > limit:
            values["data"] = Path(words.pop(-1 if many else limit)).expanduser()
    if len(words) > limit and not many:
        problems.append(f"{words[limit]!r}: one argument too many. {usage}")
    if slot and not words and not slot.startswith("["):
        problems.append(f"{slot} is missing. {usage}")
    return tuple(words)


def _is_model(word: str) -> bool:
    """Whether ``runs.load`` would read it as a model: a run, an exported encoder, or a published name."""
    files = (Path(word) / name for name in ("recipe.json", "config.json"))
    return word.startswith(("timm/", "torchvision/", "hf-hub:")) or any(f.is_file() for f in files)
