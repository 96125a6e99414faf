"""Public names: the classes a package offers, loaded on first use, and their addresses in saved recipes.

A public address names the package and the class, ``equissl.equivariance:SIE.Config``, never the file, so that
files can move without breaking saved recipes. Nothing here imports torch.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = "equissl"
RENAMED: Mapping[str, str] = {}  # old public address -> new one, for recipes saved before a rename
_CLASS = re.compile(r"^class ([A-Za-z]\w*)", re.MULTILINE)


def installed_version(package: str) -> str:
    """The version of an installed package; "not installed" for one that is absent or only on the path."""
    from importlib import metadata  # as slow as the rest of ``import equissl``

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def lazy_exports(
    package: str, also: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package that offers every public class of its files.

    A class is imported when it is first used, so importing the package imports nothing else. Its files and
    folders are attributes too.

    Args:
        package: the package's ``__name__``.
        also: further names (functions, constants) -> the module that defines them, below the package.

    Raises:
        AttributeError: by ``__getattr__``, for a name that no file defines; it lists the names that exist.
    """

    def get(name: str) -> Any:
        names = {**public_classes(package), **{n: f"{package}.{m}" for n, m in (also or {}).items()}}
        if not name.startswith("_") and name not in names and find_spec(f"{package}.{name}") is not None:
            return importlib.import_module(f"{package}.{name}")  # a file or folder, as augment.presets
        if name.startswith("__") or name not in names:
            raise AttributeError(f"{package} has no {name!r}; it offers {', '.join(sorted(names))}")
        return getattr(importlib.import_module(names[name]), name)

    def names() -> list[str]:
        return sorted({*public_classes(package), *(also or {})})

    return get, names


@functools.cache
def public_classes(package: str) -> dict[str, str]:
    """Class name -> module, for all public classes in the files below ``package``, read without importing.

    For equissl itself, of the files at its top only: the classes of a folder are offered by that folder.

    Raises:
        TypeError: two files define public classes of one name.
    """
    found: dict[str, str] = {}
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for module in _files(package, folders):
        for name in _CLASS.findall(module[1].read_text(encoding="utf-8")):
            if name in found and found[name] != module[0]:
                raise TypeError(f"{package}: {name} is defined in {found[name]} and in {module[0]}")
            found[name] = module[0]
    return found


def address(cls: type) -> str:
    """``package:Class`` of equissl's own classes, ``module:Class`` of any other."""
    parts = cls.__module__.split(".")
    if parts[0] != ROOT:
        return f"{cls.__module__}:{cls.__qualname__}"
    package = ".".join(parts[:2])
    spec = find_spec(package)
    inside = spec is not None and spec.submodule_search_locations is not None
    return f"{package if inside else ROOT}:{cls.__qualname__}"


def _files(package: str, folders: list[str]) -> list[tuple[str, Path]]:
    modules = []
    for info in pkgutil.iter_modules(folders):
        name, path = f"{package}.{info.name}", Path(folders[0], info.name)
        if info.ispkg and package == ROOT:
            continue
        if info.ispkg:
            modules += _files(name, [str(path)])
        else:
            modules.append((name, path.with_suffix(".py")))
    return modules
