"""What the package offers, found by walking all of it: adding a file is all it takes to add a method."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from equissl.config.own_code import import_own
from equissl.config.public import ROOT, address
from equissl.errors import UserError, nearest

# The command, a script that runs inside Blender, and what would pull scikit-learn into every training.
_NEVER_IMPORTED = ("__main__", "render.blender.worker", "sklearn")


@dataclass(frozen=True)
class Entry:
    """A class or function of the package that can be named by a user.

    Args:
        name: short, e.g. "simclr", "equimod.simclr_cifar10".
        address: ``package:Class`` or ``module:function``.
        line: its description, one sentence.
        paper: "arXiv:..." or "".
        value: the class or function itself.
    """

    name: str
    address: str
    line: str
    paper: str
    value: Any


def subclasses(base: type) -> list[Entry]:
    """Final public classes of the package that derive from ``base``, by short name."""
    entries = []
    for module in modules():
        for name, cls in vars(module).items():
            own = inspect.isclass(cls) and cls.__module__ == module.__name__
            if own and issubclass(cls, base) and not inspect.isabstract(cls) and not name.startswith("_"):
                short = getattr(cls, "name", None)
                short = short if isinstance(short, str) else name.lower()
                entries.append(Entry(short, address(cls), _line(cls), getattr(cls, "paper", ""), cls))
    return sorted(entries, key=lambda e: e.name)


def recipes() -> list[Entry]:
    """Functions of the package that return a recipe and need no arguments, as ``file.function``."""
    return _functions("Recipe")


def studies() -> list[Entry]:
    """Functions of the package that return a study; one named as its file goes by that name."""
    return [replace(e, name=_once(e.name)) for e in _functions("Study")]


def find_study(name: str) -> Callable[..., Any]:
    """The function behind a name in ``studies``, or ``module:function``.

    Raises:
        UserError: there is none; the message names the nearest.
    """
    return _find(name, studies(), "study")


def find_recipe(name: str) -> Callable[..., Any]:
    """The function behind a name in ``recipes``, or ``module:function``.

    Raises:
        UserError: there is none; the message names the nearest.
    """
    return _find(name, recipes(), "recipe", " (see: equissl list recipes)")


@functools.cache
def modules() -> tuple[ModuleType, ...]:
    """Every module of the package, imported."""
    root = importlib.import_module(ROOT)
    names = [i.name for i in pkgutil.walk_packages(root.__path__, f"{ROOT}.")]
    skipped = {f"{ROOT}.{n}" for n in _NEVER_IMPORTED}
    return tuple(importlib.import_module(n) for n in names if n not in skipped)


def import_function(name: str, kind: str) -> Callable[..., Any]:
    """The function at ``module:function``, of the user's own: its module is imported.

    Args:
        kind: of what it is, for the message.

    Raises:
        UserError: it cannot be imported, or cannot be called.
    """
    module, _, function = name.partition(":")
    try:
        value = getattr(import_own(module), function)
    except Exception as error:  # whatever the user's own module raises
        raise UserError(f"{kind}={name!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(value):
        raise UserError(f"{kind}={name!r} is no function")
    return value  # type: ignore[no-any-return]


def call_function(function: Callable[..., Any], label: str, **arguments: Any) -> Any:
    """Call a function that a user named, so that whatever it raises is said in words.

    Args:
        label: how the user named it, "recipe='my_module:make'".

    Raises:
        UserError: it takes other arguments, or fails.
    """
    try:
        return function(**arguments)
    except UserError:
        raise
    except Exception as error:
        given = f"with {arguments}" if arguments else "without arguments"
        raise UserError(
            f"{label} fails when it is called {given}: {type(error).__name__}: {error}"
        ) from error


def _find(name: str, entries: list[Entry], kind: str, ending: str = "") -> Callable[..., Any]:
    if ":" in name:
        return import_function(name, kind)
    by_name = {e.name: e.value for e in entries}
    if name not in by_name:
        raise UserError(f"{kind}={name!r} does not exist; {nearest(name, by_name)}{ending}")
    chosen: Callable[..., Any] = by_name[name]
    return chosen


def _functions(returns: str) -> list[Entry]:
    """Public functions that are annotated to return ``returns`` and need no arguments."""
    entries = []
    for module in modules():
        for name, function in _own_functions(module):
            required = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
            if function.__annotations__.get("return") == returns and not required:
                full = f"{_short(module)}.{name}"
                paper = _paper(function) or _paper(module)
                entries.append(Entry(full, f"{module.__name__}:{name}", _line(function), paper, function))
    return sorted(entries, key=lambda e: e.name)


def _own_functions(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, value in vars(module).items():
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
            yield name, value


def _short(module: ModuleType) -> str:
    """The file's name, or the folder's where the file is called after what it holds: photonics/recipes."""
    folder, _, file = module.__name__.rpartition(".")
    return folder.rpartition(".")[2] if file in ("recipes", "study") else file


def _once(name: str) -> str:
    file, _, function = name.partition(".")
    return file if file == function else name


def _paper(thing: object) -> str:
    """First paper that the docstring of a recipe or of its file names."""
    match = re.search(r"arXiv:\d{4}\.\d{5}", thing.__doc__ or "")
    return match.group() if match else ""


def _line(thing: object) -> str:
    text = inspect.getdoc(thing) or ""
    return text.split("\n\n")[0].replace("\n", " ").strip()
