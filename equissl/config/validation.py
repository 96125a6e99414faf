"""Fields of configs: their types, from their own annotations, their ranges, and what needs trust."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from equissl.config.public import ROOT
from equissl.errors import FieldError, UserError, nearest

MAX_SEED = 2**32 - 1  # the largest that torch, NumPy and scikit-learn all take
MAX_WIDTH = 2**20  # of a layer, and of an image in pixels: beyond it is a mistake in the number
_WORDS = {str: "a text", int: "an integer", float: "a number", bool: "true or false", NoneType: "null"}
_SEVERAL = {str: "texts", int: "integers", float: "numbers"}
_PLAIN = (*_WORDS, Path, object, Any)
_EASY = (str, bool)


class TrustNeed(NamedTuple):
    """Something that a config read from a file does only if the user trusts that file.

    Args:
        field: the field that asks for it.
        act: what would be done: "opens pickles without checking them".
        package: what the user writes to allow it, ``trust=PACKAGE``: the package whose code runs, or
            ``equissl`` for what equissl itself would do.
    """

    field: str
    act: str
    package: str = ROOT


class Checked:
    """Base of all configs: when one is made, every field is checked against its annotation.

    NumPy's numbers and arrays, lists and paths become plain numbers, tuples and texts, so that what is
    accepted can be written. The class's own ``__post_init__``, if it has one, runs after the check and may
    rely on the types.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Crop(Checked):
    ...     scale: tuple[float, float] = (0.2, 1.0)
    >>> Crop([0.5, 1])
    Crop(scale=(0.5, 1))
    >>> Crop(scale="half")
    Traceback (most recent call last):
    equissl.errors.FieldError: Crop.scale must be a tuple of 2 numbers, got 'half'
    """

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        own = vars(cls).get("__post_init__")
        if own is not None:
            cls.__post_init__ = _checked_first(own)  # type: ignore[assignment, method-assign]

    def __post_init__(self) -> None:
        check_fields(self)

    def needs_trust(self) -> Sequence[TrustNeed]:
        """What this config does that a file must not ask for unless the user trusts it.

        Asked when a config is read from a file; what a user types or writes in Python needs no trust.
        """
        return ()


def _checked_first(own: Callable[[Any], None]) -> Callable[[Any], None]:
    @functools.wraps(own)
    def check_and_run(self: Any) -> None:
        if type(self).__post_init__ is check_and_run:  # not again when a subclass calls it by super()
            check_fields(self)
        try:
            own(self)
        except UserError:
            raise
        except ValueError as error:
            raise FieldError(str(error)) from error

    return check_and_run


def check_fields(config: Any) -> None:
    """Check every field of a dataclass against its annotation, after making it plain data.

    Raises:
        FieldError: naming the first field of another type, or a ``seed`` that is none.
    """
    kind: Any = type(config)
    for name, hint in field_types(kind).items():
        value = getattr(config, name)
        if type(value) is hint and (hint in _EASY or (hint is float and math.isfinite(value))):
            continue  # factors are made in every step
        plain = _plain(value, hint)
        if not fits(plain, hint):
            raise FieldError(_mismatch(f"{kind.__qualname__}.{name}", plain, hint))
        if plain is not value:
            object.__setattr__(config, name, plain)
    if "seed" in vars(config):
        check_bounds(config, "seed", low=0, high=MAX_SEED)


@functools.cache
def field_types(cls: Hashable) -> dict[str, Any]:
    """Field -> annotation, of the fields of a dataclass that are arguments."""
    assert isinstance(cls, type) and dataclasses.is_dataclass(cls)
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls) if f.init}


def arms(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a type, each without further ones: ``A | B | None`` -> (A, B, NoneType)."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(arm for arg in get_args(hint) for arm in arms(arg))
    return (hint,)


def component_types(hint: Any) -> tuple[type, ...]:
    """The classes among the alternatives of a type, without those of plain data."""
    return tuple(arm for arm in arms(hint) if isinstance(arm, type) and arm not in _PLAIN)


def nested_types(hint: Any) -> tuple[type, ...]:
    """The classes inside the tuples and mappings among the alternatives of a type."""
    inside = [arg for arm in arms(hint) for arg in get_args(arm) if get_origin(arm) is not Literal]
    return tuple(t for arg in inside if arg is not ... for t in (*component_types(arg), *nested_types(arg)))


def fits(value: Any, hint: Any) -> bool:
    """Whether ``value`` is of the type ``hint``; numbers must be finite, integers fit into 64 bits."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, arm) for arm in args)
    if origin is Literal:
        return any(type(value) is type(arm) and value == arm for arm in args)
    if origin is tuple:
        expected = _elements(args, value)
        return expected is not None and all(map(fits, value, expected))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        pairs = value.items() if isinstance(value, Mapping) else [(None, None)]
        return all(fits(k, args[0]) and fits(v, args[1]) for k, v in pairs)
    if hint in (int, float):
        return _is_number(value, hint)
    if origin is Sequence:
        return isinstance(value, list | tuple) and all(fits(item, args[0]) for item in value)
    return isinstance(value, origin or hint)


def _elements(args: tuple[Any, ...], value: Any) -> Sequence[Any] | None:
    """The type of each element of a tuple; None if it is no tuple of this length."""
    if not isinstance(value, tuple):
        return None
    if len(args) == 2 and args[1] is Ellipsis:
        return [args[0]] * len(value)
    return args if len(args) == len(value) else None


def _is_number(value: Any, hint: type) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if hint is int else int | float):
        return False
    return abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)


def _plain(value: Any, hint: Any) -> Any:
    """Plain data for NumPy's numbers and arrays, lists and paths; anything else as it is."""
    if type(value) in _WORDS:
        return value
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        return _plain(value.tolist(), hint)
    if isinstance(value, PurePath):
        return value if fits(value, hint) else str(value)
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        made = tuple(_plain(item, Any) for item in value)
        same = isinstance(value, tuple) and all(a is b for a, b in zip(value, made, strict=True))
        return value if same else made
    if type(value) is dict:
        plain = {_plain(k, Any): _plain(v, Any) for k, v in value.items()}
        return value if all(plain[k] is v for k, v in value.items()) else plain
    return value


def _mismatch(name: str, value: Any, hint: Any) -> str:
    choices = [a for arm in arms(hint) if get_origin(arm) is Literal for a in get_args(arm)]
    shown = repr(value) if len(repr(value)) < 100 else f"{repr(value)[:100]}..."
    if choices and isinstance(value, str):
        return f"{name}={shown} does not exist; {nearest(value, map(str, choices))}"
    return f"{name} must be {describe(hint)}, got {shown}"


def describe(hint: Any) -> str:
    """A type in words, for messages: ``tuple[int, ...]`` is "a tuple of integers"."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(describe(arm) for arm in arms(hint))
    if origin is Literal:
        return " or ".join(repr(a) for a in args)
    if origin is tuple:
        elements = dict.fromkeys(a for a in args if a is not Ellipsis)
        count = "" if args[1:] == (Ellipsis,) else f"{len(args)} "
        words = [_SEVERAL.get(a, f"values, each {describe(a)}") for a in elements]
        return f"a tuple of {count}{', '.join(words)}"
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a mapping of names to {_SEVERAL.get(args[1], describe(args[1]))}"
    return _WORDS.get(hint, f"{getattr(hint, '__qualname__', hint)}")


def check_widths(config: object, *fields: str, least: int = 1) -> None:
    """Check the widths of layers, (hidden, ..., output): ``least`` or more of them, each from 1 to 2^20.

    Raises:
        FieldError: naming the first field that is out of bounds.
    """
    for field in fields:
        value = getattr(config, field)
        if len(value) < least:
            raise FieldError(f"{field} must hold at least {least} width{'s'[: least - 1]}, got {value}")
        check_bounds(config, field, low=1, high=MAX_WIDTH)


def check_unique(config: object, *fields: str) -> None:
    """Check names: at least one, none of them empty, each once.

    Raises:
        FieldError: naming the first field in which they are not.
    """
    for field in fields:
        value = getattr(config, field)
        if not value or "" in value or len(set(value)) < len(value):
            raise FieldError(f"{field} must hold at least one name, each once, got {value!r}")


def check_predictor(config: object) -> None:
    """Check the heads of a method that predicts a projection: the predictor ends with its width.

    Raises:
        ValueError: a width is out of bounds, or the last ones differ.
    """
    check_widths(config, "projector", "predictor")
    projector, predictor = getattr(config, "projector"), getattr(config, "predictor")  # noqa: B009
    if predictor[-1] != projector[-1]:
        raise FieldError(f"predictor must end with the projector's width {projector[-1]}, got {predictor}")


def check_bounds(
    config: object,
    *fields: str,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> None:
    """Check numbers, or tuples of numbers, in the fields of a config; NaN passes no check, None every one.

    Args:
        low, high: inclusive bounds.
        above, below: exclusive bounds.

    Raises:
        FieldError: naming the first field out of bounds.

    >>> from types import SimpleNamespace
    >>> check_bounds(SimpleNamespace(momentum=1.5), "momentum", low=0, high=1)
    Traceback (most recent call last):
    equissl.errors.FieldError: momentum must be in [0, 1], got 1.5
    """
    words = [f"in [{low:.10g}, {high:.10g}]"] if low is not None and high is not None else []
    words += [f"at least {low:.10g}"] if low is not None and high is None else []
    words += [f"at most {high:.10g}"] if high is not None and low is None else []
    words += [f"above {above:.10g}"] if above is not None else []
    words += [f"below {below:.10g}"] if below is not None else []
    for field in fields:
        value = getattr(config, field)
        for number in value if isinstance(value, tuple) else () if value is None else (value,):
            inside = (low is None or low <= number) and (high is None or number <= high)
            inside = inside and (above is None or number > above) and (below is None or number < below)
            if not inside or number != number:
                raise FieldError(f"{field} must be {' and '.join(words)}, got {value}")
