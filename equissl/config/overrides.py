"""Settings given as ``path.to.field=value``, parsed by the recipe's own types."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

from equissl.config import registry
from equissl.config.parse import parse
from equissl.config.public import ROOT, address
from equissl.config.serialize import locate
from equissl.config.validation import arms, component_types, field_types, nested_types
from equissl.errors import FieldError, UserError, nearest

T = TypeVar("T")


class _Setting(NamedTuple):
    """One setting: its full path and text, and the steps that lead from the value at hand to its part."""

    path: str
    text: str
    steps: tuple[str, ...]

    def inside(self) -> _Setting:
        return self._replace(steps=self.steps[1:])


def override(value: T, settings: Mapping[str, str], trusted: tuple[str, ...] = ()) -> T:
    """A copy of a dataclass with some fields changed; fields that must agree are checked when all are.

    Args:
        settings: "encoder.name" -> "resnet50"; a component is replaced by its address,
            "equissl.training:AdamW".

    Raises:
        UserError: all unknown paths and values of the wrong type, each with what was expected.
    """
    problems: list[str] = []
    given = [_Setting(path, text, tuple(path.split("."))) for path, text in settings.items()]
    value = _changed(value, type(value), given, trusted, problems)
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


def setting_values(value: object) -> Iterator[tuple[str, Any]]:
    """(path, value) of the settings of a dataclass that have no settings inside."""
    for path in (paths := setting_paths(value)):
        if not any(other.startswith(f"{path}.") for other in paths):
            part: Any = value
            for step in path.split("."):
                if isinstance(part, Mapping):
                    part = part[step]
                else:
                    part = part[int(step)] if isinstance(part, tuple) else getattr(part, step)
            yield path, part


def _changed(
    value: Any, hint: Any, settings: Sequence[_Setting], trusted: tuple[str, ...], problems: list[str]
) -> Any:
    """``value``, which is of the type ``hint``, with settings in their order: itself, then its parts."""
    parts: list[_Setting] = []
    for setting in settings:
        if setting.steps:
            parts.append(setting)
            continue
        value, parts = _with_parts(value, hint, parts, trusted, problems), []
        try:
            value = _whole(hint, setting, trusted)
        except UserError as error:
            problems += error.problems
    return _with_parts(value, hint, parts, trusted, problems)


def _whole(hint: Any, setting: _Setting, trusted: tuple[str, ...]) -> Any:
    path, text = setting.path, setting.text
    types = component_types(hint)
    if types and text == "null" and NoneType in arms(hint):
        return None
    if types:
        return _component(text, types, path, trusted)
    if inside := [t.__qualname__ for t in nested_types(hint)]:
        raise UserError(f"{path}={text}: change its parts by {path}.NAME=... (each {inside[0]})")
    return parse(text, hint, path)


def _with_parts(
    value: Any, hint: Any, settings: Sequence[_Setting], trusted: tuple[str, ...], problems: list[str]
) -> Any:
    """``value`` with all its parts changed at once, or as it was with what is wrong among ``problems``."""
    groups: dict[str, list[_Setting]] = {}
    for setting in settings:
        groups.setdefault(setting.steps[0], []).append(setting)
    parts = {}
    for head, group in groups.items():
        before = len(problems)
        try:
            part, inner = _part(value, hint, head, group)
        except UserError as error:
            problems += error.problems
            continue
        changed = _changed(part, inner, [s.inside() for s in group], trusted, problems)
        if len(problems) == before:
            parts[head] = changed
    if not parts:
        return value
    if isinstance(value, Mapping):
        return {**value, **parts}
    if isinstance(value, tuple):
        return tuple(parts.get(str(k), part) for k, part in enumerate(value))
    try:
        return dataclasses.replace(value, **parts)
    except UserError as error:
        problems += _refused(value, parts, groups, error)
        return value


def _part(value: Any, hint: Any, head: str, settings: Sequence[_Setting]) -> tuple[Any, Any]:
    """The part called ``head`` and its type."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = field_types(type(value))
        if head in hints:
            return getattr(value, head), hints[head]
        named = f"no setting {head!r} in {type(value).__qualname__}; {nearest(head, setting_paths(value))}"
    elif isinstance(value, Mapping):
        if head in value or not any(s.steps[1:] for s in settings):
            inner = next((get_args(arm)[1] for arm in arms(hint) if get_origin(arm) is Mapping), Any)
            return value.get(head), inner
        named = f"no entry {head!r}; {nearest(head, value)}"
    elif isinstance(value, tuple) and head in map(str, range(len(value))):
        return value[int(head)], _element(hint, int(head))
    else:
        named = f"{type(value).__name__} has nothing called {head!r}"
    raise UserError([f"{s.path}: {named}" for s in settings])


def _refused(
    value: Any, parts: Mapping[str, Any], groups: Mapping[str, Sequence[_Setting]], error: UserError
) -> list[str]:
    """Why a dataclass refuses parts: what is wrong with each alone, or else with them together."""
    alone: dict[str, UserError] = {}
    for head, part in parts.items():
        try:
            dataclasses.replace(value, **{head: part})
        except UserError as problem:
            alone[head] = problem
    explained = any(str(problem) == str(error) for problem in alone.values())
    mistakes = [([h], p) for h, p in alone.items()] if explained else [(list(alone or parts), error)]
    return [line for heads, problem in mistakes for line in _lines(heads, groups, problem)]


def _lines(heads: Sequence[str], groups: Mapping[str, Sequence[_Setting]], error: UserError) -> list[str]:
    """The problems of an error; those of a field name the settings that led to it."""
    if not isinstance(error, FieldError):
        return error.problems
    return [f"{' '.join(f'{s.path}={s.text}' for h in heads for s in groups[h])}: {error}"]


def _element(hint: Any, k: int) -> Any:
    """The type of element ``k`` of a tuple of the type ``hint``."""
    args = next((get_args(arm) for arm in arms(hint) if get_origin(arm) is tuple), (Any, ...))
    return args[0] if args[1:] == (...,) else args[k]


def _component(text: str, types: tuple[type, ...], path: str, trusted: tuple[str, ...]) -> Any:
    if ":" not in text:
        raise UserError(
            f"{path}={text}: expected the address of a component; {nearest(text, _addresses(types))}"
        )
    cls = locate(text, trusted)
    if not issubclass(cls, types):
        names = " or ".join(t.__qualname__ for t in types)
        raise UserError(f"{path}={text}: expected a {names}, but that is none")
    try:
        return cls()
    except TypeError as error:
        raise UserError(f"{path}={text}: {error}") from error


def _addresses(types: tuple[type, ...]) -> list[str]:
    """Addresses of equissl's own classes that are of one of ``types`` or derive from one."""
    registry.modules()  # a class is known by its base only after its file was imported
    found, left = set(), list(types)
    while left:
        cls = left.pop()
        left += cls.__subclasses__()
        own = cls.__module__.partition(".")[0] == ROOT and not cls.__qualname__.startswith("_")
        if own and dataclasses.is_dataclass(cls) and not inspect.isabstract(cls):
            found.add(address(cls))
    return sorted(found)
