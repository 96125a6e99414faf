"""Recipes to and from JSON: plain data in which a component is named by its public address."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from equissl.config.own_code import import_own
from equissl.config.public import RENAMED, ROOT, address, public_classes
from equissl.config.validation import Checked, arms, component_types, describe, field_types
from equissl.errors import UserError, nearest

_ADDRESS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def to_dict(value: object) -> Any:
    """JSON-ready data; a dataclass becomes ``{"is": "package:Class", field: ...}``.

    Fields with ``metadata={"stored": False}`` hold what no file can, and are left out.

    Raises:
        TypeError: a value is neither plain data nor a dataclass.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        stored = [f.name for f in dataclasses.fields(value) if f.init and f.metadata.get("stored", True)]
        fields = {name: to_dict(getattr(value, name)) for name in stored}
        return {"is": address(type(value)), **fields}
    if isinstance(value, Mapping):
        return {str(k): to_dict(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [to_dict(v) for v in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(
        f"a recipe holds plain data and dataclasses, but this is a {type(value).__name__}: {value!r}"
    )


def from_dict(data: Any, expected: Any, trusted: Sequence[str] = ()) -> Any:
    """The inverse of ``to_dict``, for data that may come from anyone.

    A component must be of the type that its field is annotated with, and its fields of theirs. Unless more is
    trusted, only equissl's own public classes are imported, and none that ``needs_trust`` (see ``Checked``).

    Args:
        expected: the type of the whole, such as ``Recipe``.
        trusted: packages outside equissl whose code may be named; "equissl" for what equissl's own classes
            do only for a user who trusts the file (see SECURITY.md).

    Raises:
        UserError: naming the field, what was expected and what came.
    """
    try:
        made = _made(data, expected, "", trusted)
    except RecursionError as error:
        raise UserError("it is nested too deeply") from error
    types = component_types(expected)
    if types and not isinstance(made, types):
        raise UserError(f"expected {describe(expected)}, got {_shown(data)}")
    return made


def _made(data: Any, hint: Any, path: str, trusted: Sequence[str]) -> Any:
    """``data`` with its components made; plain values are checked by the component that they belong to."""
    if isinstance(data, dict):
        if types := component_types(hint):
            return _component(data, types, path, trusted)
        inner = next((get_args(a)[1] for a in arms(hint) if get_origin(a) is Mapping), Any)
        return {k: _made(v, inner, _join(path, k), trusted) for k, v in data.items()}
    if isinstance(data, list):
        elements = next((get_args(a) for a in arms(hint) if get_origin(a) is tuple), (Any, ...))
        types = elements[:1] * len(data) if elements[1:] == (...,) else elements
        padded = (*types, *(Any for _ in data[len(types) :]))
        pairs = enumerate(zip(data, padded, strict=False))
        return tuple(_made(v, t, _join(path, str(k)), trusted) for k, (v, t) in pairs)
    return data


def _component(data: dict[str, Any], types: tuple[type, ...], path: str, trusted: Sequence[str]) -> Any:
    name = data.get("is")
    if not isinstance(name, str):
        raise UserError(f"{_join(path, 'is')}: expected the address of a component, got {_shown(name)}")
    try:
        cls = locate(name, trusted)
    except UserError as error:
        raise UserError([_named(path, p) for p in error.problems]) from error
    if not issubclass(cls, types):
        names = " or ".join(t.__qualname__ for t in types)
        raise UserError(_named(path, f"expected {names}, but {name} is none"))
    hints = field_types(cls)
    given = {k: v for k, v in data.items() if k != "is"}
    problems = [f"no field {k!r} in {name}; {nearest(k, hints)}" for k in given if k not in hints]
    needed = [f.name for f in dataclasses.fields(cls) if f.init and _is_required(f) and f.name not in given]
    problems += [f"{n} is missing" for n in needed]
    if problems:
        raise UserError([_named(path, p, cls) for p in problems])
    values = {k: _made(v, hints[k], _join(path, k), trusted) for k, v in given.items()}
    try:
        made = cls(**values)
    except UserError as error:
        raise UserError([_named(path, p, cls) for p in error.problems]) from error
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UserError(_named(path, str(error), cls)) from error
    refuse_untrusted(made, path, trusted)
    return made


def refuse_untrusted(config: object, path: str, trusted: Sequence[str]) -> None:
    """Raises UserError if a config, without those inside it, needs trust that is not given."""
    for need in config.needs_trust() if isinstance(config, Checked) else ():
        if need.package not in trusted:
            value = _shown(getattr(config, need.field))
            raise UserError(
                f"{_join(path, need.field)}={value} was read from a file and {need.act}; "
                f"if you trust it: trust={need.package}"
            )


def trust_needs(config: object) -> set[str]:
    """The packages to trust when this config is read back: of its own code and of all its ``needs_trust``."""
    found: set[str] = set()
    for part in configs(config):
        if isinstance(part, Checked):
            found |= {need.package for need in part.needs_trust()}
        found |= {type(part).__module__.partition(".")[0]} - {ROOT}
    return found


def configs(value: object) -> Iterator[Any]:
    """All dataclass instances in a tree of dataclasses, mappings and sequences, the outermost first."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield value
        for field in dataclasses.fields(value):
            yield from configs(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from configs(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from configs(item)


def locate(name: str, trusted: Sequence[str] = ()) -> Any:
    """The dataclass at the address ``package:Class`` or ``module:Class.Inner``.

    Of equissl only the file is imported that defines the public class of this name.

    Raises:
        UserError: neither equissl's nor below a trusted package, not found, or no dataclass.
    """
    name = RENAMED.get(name, name)
    if not _ADDRESS.fullmatch(name):
        raise UserError(f"{name[:100]!r} is no address of a component, such as equissl.training:AdamW")
    module, _, path = name.partition(":")
    own = module.partition(".")[0] == ROOT
    if own:
        module = _home(name)
    else:
        check_trusted(name, trusted)
    try:
        value: Any = import_own(module)
        for step in path.split("."):
            value = getattr(value, step)
    except Exception as error:  # whatever a module of the user's own raises
        raise UserError(f"{name!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not (isinstance(value, type) and dataclasses.is_dataclass(value)):
        hint = f"; did you mean {name + '.Config'!r}?" if hasattr(value, "Config") else ""
        raise UserError(f"{name!r} is not a dataclass, so it cannot be part of a recipe{hint}")
    if own or value.__module__.partition(".")[0] == ROOT:
        if address(value) != name:
            raise UserError(f"{name!r} is not the address of a class of equissl")
    else:
        check_trusted(f"{value.__module__}:{path}", trusted)  # a trusted module may import an untrusted one
    return value


def _home(name: str) -> str:
    """The module of a public class of equissl, found without importing anything."""
    package, _, path = name.partition(":")
    cls = path.partition(".")[0]
    known = public_classes(package) if package.count(".") < 2 else {}
    if cls not in known:
        raise UserError(f"{name!r} cannot be found: {package} has no {cls!r}; {nearest(cls, known)}")
    return known[cls]


def check_trusted(name: str, trusted: Sequence[str]) -> None:
    """Raises UserError if ``module:name`` is not below one of the packages in ``trusted``."""
    package = name.partition(":")[0].partition(".")[0]
    if package not in trusted:
        raise UserError(
            f"{name!r} is code outside {[ROOT, *trusted]}; if you trust it, name its package: trust={package}"
        )


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _named(path: str, problem: str, cls: type | None = None) -> str:
    """A problem of the component at ``path``: "base.temperature must be ..." if it starts with a field."""
    if cls is not None:
        problem = problem.removeprefix(f"{cls.__qualname__}.")
    if not path or problem.startswith(f"{path}."):
        return problem
    first = re.split(r"\W", problem, maxsplit=1)[0]
    return f"{path}.{problem}" if cls is not None and first in field_types(cls) else f"{path}: {problem}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < 100 else f"{text[:100]}..."
