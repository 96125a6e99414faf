"""Configs in a few lines for people: components by name with what differs from their defaults."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WIDTH = 100  # characters of a line


def short(value: object) -> str:
    """A config in one line, without fields that have their defaults.

    >>> from equissl.training.optim import AdamW
    >>> short({"a": AdamW(lr=0.002), "b": AdamW()})
    'a: AdamW(lr=0.002), b: AdamW()'
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inside = ", ".join(f"{name}={short(field)}" for name, field in changed_fields(value))
        return f"{type(value).__qualname__.removesuffix('.Config')}({inside})"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {short(item)}" for name, item in value.items()) or "none"
    if isinstance(value, tuple):
        return f"[{', '.join(map(short, value))}]"
    return repr(value)


def changed_fields(config: Any) -> Iterator[tuple[str, Any]]:
    """Fields of a dataclass that have no default, or another value than it."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if field.init and field.repr and (default is dataclasses.MISSING or value != default):
            yield field.name, value


def lines(config: Any) -> list[tuple[str, str]]:
    """(field, its value in a line) of a config; the values of a mapping each have a line, "views.a"."""
    found = []
    for name, value in changed_fields(config):
        if isinstance(value, Mapping) and value:
            found += [(f"{name}.{key}", short(item)) for key, item in value.items()]
        else:
            found.append((name, value if isinstance(value, str) else short(value)))
    return found


def aligned(rows: Sequence[tuple[str, str]]) -> str:
    """Names and texts below each other, long texts in several lines."""
    width = max((len(name) for name, _ in rows), default=0) + 2
    wrapped = (
        textwrap.fill(
            text,
            WIDTH,
            initial_indent=f"{name:{width}}",
            subsequent_indent=" " * width,
            break_on_hyphens=False,
        )
        for name, text in rows
    )
    return "\n".join(wrapped)
