"""Settings given as ``path.to.field=value``, parsed by the recipe's own types."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin

from equissl.config.parse import parse
from equissl.config.serialize import locate
from equissl.config.validation import arms, component_types, field_types, nested_types
from equissl.errors import FieldError, UserError, nearest

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
        except FieldError as error:
            problems.append(f"{path}={text}: {error}")
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)
    return value


def setting_paths(value: object) -> list[str]:
    """The paths of all settings of a dataclass: "encoder.name", "views.a.augment.steps.0.scale"."""
    if dataclasses.is_dataclass(value):
        inside = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    elif isinstance(value, Mapping):
        inside = [(str(key), part) for key, part in value.items()]
    elif isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
        inside = [(str(k), part) for k, part in enumerate(value)]
    else:
        return []
    return [path for name, part in inside for path in (name, *(f"{name}.{p}" for p in setting_paths(part)))]


def _set(value: Any, hint: Any, steps: list[str], text: str, path: str, trusted: tuple[str, ...]) -> Any:
    """``value``, which is of the type ``hint``, with the part that ``steps`` lead to replaced."""
    if not steps:
        types = component_types(hint)
        if types and text == "null" and NoneType in arms(hint):
            return None
        if types:
            return _component(text, types, path, trusted)
        if inside := [t.__qualname__ for t in nested_types(hint)]:
            raise UserError(f"{path}={text}: change its parts by {path}.NAME=... (each {inside[0]})")
        return parse(text, hint, path)
    head, rest = steps[0], steps[1:]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = field_types(type(value))
        if head not in hints:
            raise UserError(
                f"{path}: no setting {head!r} in {type(value).__qualname__}; "
                f"{nearest(head, setting_paths(value))}"
            )
        changed = _set(getattr(value, head), hints[head], rest, text, path, trusted)
        return dataclasses.replace(value, **{head: changed})
    if isinstance(value, Mapping):
        if head not in value and rest:
            raise UserError(f"{path}: no entry {head!r}; {nearest(head, value)}")
        inner = next((get_args(arm)[1] for arm in arms(hint) if get_origin(arm) is Mapping), Any)
        return {**value, head: _set(value.get(head), inner, rest, text, path, trusted)}
    if isinstance(value, tuple) and head in map(str, range(len(value))):
        k = int(head)
        inner = _element(hint, k)
        return (*value[:k], _set(value[k], inner, rest, text, path, trusted), *value[k + 1 :])
    raise UserError(f"{path}: {type(value).__name__} has nothing called {head!r}")


def _element(hint: Any, k: int) -> Any:
    """The type of element ``k`` of a tuple of the type ``hint``."""
    args = next((get_args(arm) for arm in arms(hint) if get_origin(arm) is tuple), (Any, ...))
    return args[0] if args[1:] == (...,) else args[k]


def _component(text: str, types: tuple[type, ...], path: str, trusted: tuple[str, ...]) -> Any:
    if ":" not in text:
        raise UserError(f"{path}={text}: expected the address of a component, such as equissl.training:AdamW")
    cls = locate(text, trusted)
    if not issubclass(cls, types):
        names = " or ".join(t.__qualname__ for t in types)
        raise UserError(f"{path}={text}: expected a {names}, but that is none")
    try:
        return cls()
    except TypeError as error:
        raise UserError(f"{path}={text}: {error}") from error
