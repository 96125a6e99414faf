"""What the package offers, found by walking it: a name is an address, so adding a file is all it takes."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from equissl.errors import UserError, nearest


@dataclass(frozen=True)
class Entry:
    """Something that can be named in a recipe.

    Args:
        name: short, e.g. "simclr", "equimod.simclr_cifar10".
        address: ``module:qualified.name``.
        line: what it is, one sentence.
        paper: "arXiv:..." or "".
    """

    name: str
    address: str
    line: str
    paper: str
    found: Any


def subclasses(package: str, base: type) -> list[Entry]:
    """Final classes below ``package`` that derive from ``base``, by short name."""
    entries = []
    for module in _modules(package):
        for name, cls in vars(module).items():
            own = inspect.isclass(cls) and cls.__module__ == module.__name__
            if own and issubclass(cls, base) and not inspect.isabstract(cls) and not name.startswith("_"):
                address = f"{module.__name__}:{cls.__qualname__}"
                entries.append(Entry(name.lower(), address, _line(cls), getattr(cls, "paper", ""), cls))
    return sorted(entries, key=lambda e: e.name)


def recipes() -> list[Entry]:
    """Functions below ``equissl.recipes`` that return a recipe and need no arguments."""
    return _functions("equissl.recipes", "Recipe")


def studies() -> list[Entry]:
    """Functions below ``equissl.studies`` that return a study; one named as its file goes by that name."""
    entries = _functions("equissl.studies", "Study")
    return [replace(e, name=_once(e.name)) for e in entries]


def find_study(name: str) -> Callable[..., Any]:
    """The function behind a name in ``studies``, or ``module:function``.

    Raises:
        UserError: there is none; the message names the nearest.
    """
    return _find(name, studies(), "study")


def find_recipe(name: str) -> Callable[..., Any]:
    """The recipe function called ``file.function`` below ``equissl.recipes``, or ``module:function``.

    Raises:
        UserError: there is none; the message names the nearest.
    """
    return _find(name, recipes(), "recipe", " (see: equissl list recipes)")


def _find(name: str, entries: list[Entry], kind: str, ending: str = "") -> Callable[..., Any]:
    if ":" in name:
        module, _, function = name.partition(":")
        try:
            found: Callable[..., Any] = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise UserError(f"{kind}={name!r} cannot be imported: {error}") from error
        return found
    known = {e.name: e.found for e in entries}
    if name not in known:
        raise UserError(f"{kind}={name!r} does not exist; {nearest(name, known)}{ending}")
    chosen: Callable[..., Any] = known[name]
    return chosen


def _functions(package: str, returns: str) -> list[Entry]:
    """Functions below a package that are annotated to return something and need no arguments."""
    entries = []
    for module in _modules(package):
        short = module.__name__.rpartition(".")[2]
        for name, function in vars(module).items():
            if _gives(function, module, returns):
                address = f"{module.__name__}:{name}"
                entries.append(Entry(f"{short}.{name}", address, _line(function), _paper(module), function))
    return sorted(entries, key=lambda e: e.name)


def _gives(function: object, module: ModuleType, returns: str) -> bool:
    if not inspect.isfunction(function) or function.__module__ != module.__name__:
        return False
    if function.__name__.startswith("_") or function.__annotations__.get("return") != returns:
        return False
    required = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    return not required


def _once(name: str) -> str:
    file, _, function = name.partition(".")
    return file if file == function else name


def _modules(package: str) -> Iterator[ModuleType]:
    root = importlib.import_module(package)
    yield root
    for info in pkgutil.walk_packages(root.__path__, f"{package}."):
        if not info.name.endswith(".__main__"):
            yield importlib.import_module(info.name)


def _paper(module: ModuleType) -> str:
    """The first paper that a file of recipes names."""
    found = re.search(r"arXiv:\d{4}\.\d{5}", module.__doc__ or "")
    return found.group() if found else ""


def _line(thing: object) -> str:
    text = inspect.getdoc(thing) or ""
    return text.split("\n\n")[0].replace("\n", " ").strip()
