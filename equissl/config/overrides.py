"""Settings given as ``path.to.field=value``, parsed by the recipe's own types."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic.errors import PydanticSchemaGenerationError

from equissl.config.parse import parse
from equissl.config.serialize import locate
from equissl.errors import UserError, nearest

T = TypeVar("T")


def override(value: T, settings: Mapping[str, str], trusted: tuple[str, ...] = ()) -> T:
    """A copy of a dataclass with some fields changed.

    Args:
        settings: "encoder.name" -> "resnet50"; a component is replaced by its address,
            "equissl.training:AdamW".

    Raises:
        UserError: all unknown paths and values of the wrong type, each with what was expected.
    """
    problems: list[str] = []
    for path, text in settings.items():
        try:
            value = _set(value, type(value), path.split("."), text, path, trusted)
        except UserError as error:
            problems += error.problems
        except ValueError as error:
            problems.append(f"{path}={text}: {error}")
    if problems:
        raise UserError(problems)
    return value


def _set(value: Any, hint: Any, steps: list[str], text: str, path: str, trusted: tuple[str, ...]) -> Any:
    if not steps:
        # One component, or one of several: "equissl.nn:ResidualMLP"
        choices = tuple(t for t in get_args(hint) or (hint,) if dataclasses.is_dataclass(t))
        if dataclasses.is_dataclass(hint) or (choices and ":" in text):
            return _component(text, choices, path, trusted)
        try:
            return parse(text, hint, path)
        except PydanticSchemaGenerationError:
            return _component(text, hint, path, trusted)
    head, rest = steps[0], steps[1:]
    if dataclasses.is_dataclass(value):
        names = [f.name for f in dataclasses.fields(value) if f.init]
        if head not in names:
            raise UserError(
                f"{path}: no setting {head!r} in {type(value).__qualname__}; {nearest(head, names)}"
            )
        inner = get_type_hints(type(value))[head]
        changed = _set(getattr(value, head), inner, rest, text, path, trusted)
        return dataclasses.replace(value, **{head: changed})  # type: ignore[type-var]
    if isinstance(value, Mapping):
        if head not in value and rest:
            raise UserError(f"{path}: no entry {head!r}; {nearest(head, value)}")
        inner = getattr(hint, "__args__", (str, Any))[1]
        return {**value, head: _set(value.get(head), inner, rest, text, path, trusted)}
    if isinstance(value, tuple) and head.isdigit() and int(head) < len(value):
        k = int(head)
        return (*value[:k], _set(value[k], Any, rest, text, path, trusted), *value[k + 1 :])
    raise UserError(f"{path}: {type(value).__name__} has nothing called {head!r}")


def _component(text: str, hint: Any, path: str, trusted: tuple[str, ...]) -> Any:
    if ":" not in text:
        raise UserError(f"{path}={text}: expected the address of a component, such as equissl.training:AdamW")
    try:
        made = locate(text, trusted)()
    except TypeError as error:
        raise UserError(f"{path}={text}: {error}") from error
    choices = hint if isinstance(hint, tuple) else (hint,)
    if all(isinstance(t, type) for t in choices) and not isinstance(made, choices):
        names = " or ".join(t.__name__ for t in choices)
        raise UserError(f"{path}={text}: expected a {names}, but that is none")
    return made
