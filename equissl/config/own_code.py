"""Import of modules that a user named: ``module:function`` and components of packages outside equissl."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.util import find_spec
from types import ModuleType


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
