"""Code of the user's own: import of modules that are named, and its errors in words."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType

from equissl.config.public import ROOT
from equissl.errors import UserError


def import_own(module: str) -> ModuleType:
    """Import a module by name; one that is installed nowhere is looked for in the current folder.

    The current folder is on Python's path only from then on. Packages try to import dozens of optional
    modules, and a file with such a name must not run because the command is given in its folder.

    Raises:
        Exception: whatever the module raises when it is imported.
    """
    if not _is_installed(module.partition(".")[0]):
        folder = os.getcwd()
        if folder not in sys.path:
            sys.path.append(folder)
            importlib.invalidate_caches()
    return importlib.import_module(module)


def _is_installed(name: str) -> bool:
    try:
        return name in sys.modules or find_spec(name) is not None
    except (ImportError, ValueError):
        return False


@contextmanager
def own_errors_in_words(part: object, act: str) -> Iterator[None]:
    """Where a user's own data or dataset is called: whatever it raises names it.

    Args:
        part: of equissl's own classes, errors pass as they are.
        act: what it does, "batch".

    Raises:
        UserError: naming the class, and what it raised.
    """
    try:
        yield
    except (UserError, OSError):  # those of the system have words of their own
        raise
    except Exception as error:
        if type(part).__module__.partition(".")[0] == ROOT:
            raise
        said = f"{type(error).__name__}: {error}"
        raise UserError(f"data: {type(part).__name__}.{act} fails: {said}") from error
