"""Recipes to and from JSON: plain data in which a component is named by its public address."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from equissl.config.public import RENAMED, ROOT, address
from equissl.errors import UserError


def to_dict(value: object) -> Any:
    """JSON-ready data; a dataclass becomes ``{"is": "package:Class", field: ...}``.

    Raises:
        TypeError: a value is neither plain data nor a dataclass.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
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


def from_dict(data: Any, trusted: Sequence[str] = (ROOT,)) -> Any:
    """The inverse of ``to_dict``.

    Args:
        trusted: top-level packages that may be imported; a run folder from elsewhere cannot run other code.

    Raises:
        UserError: a component outside the trusted packages, or one that no longer exists.
    """
    if isinstance(data, dict) and "is" in data:
        cls = locate(str(data["is"]), trusted)
        values = {k: from_dict(v, trusted) for k, v in data.items() if k != "is"}
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise UserError(f"{data['is']} cannot be made from {sorted(values)}: {error}") from error
    if isinstance(data, dict):
        return {k: from_dict(v, trusted) for k, v in data.items()}
    return tuple(from_dict(v, trusted) for v in data) if isinstance(data, list) else data


def locate(name: str, trusted: Sequence[str] = (ROOT,)) -> Any:
    """The dataclass at the address ``package:Class`` or ``module:Class.Inner``.

    Raises:
        UserError: not below a trusted package, not found, or no dataclass.
    """
    name = RENAMED.get(name, name)
    check_trusted(name, trusted)
    module, _, path = name.partition(":")
    try:
        value: Any = importlib.import_module(module)
        for step in path.split("."):
            value = getattr(value, step)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{name!r} cannot be found: {error}") from error
    if not (isinstance(value, type) and dataclasses.is_dataclass(value)):
        raise UserError(f"{name!r} is not a dataclass, so it cannot be part of a recipe")
    check_trusted(f"{value.__module__}:{path}", trusted)  # a trusted module may import from an untrusted one
    return value


def check_trusted(name: str, trusted: Sequence[str]) -> None:
    """Raises UserError if ``module:name`` is not below one of the packages in ``trusted``."""
    package = name.partition(":")[0].partition(".")[0]
    if package not in trusted:
        raise UserError(
            f"{name!r} is code outside {list(trusted)}; if you trust it, name its package: trust={package}"
        )
