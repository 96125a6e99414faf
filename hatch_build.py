"""Build hook of the wheel: compile ``native.c`` for every instruction set and put the libraries into it.

The libraries are loaded with ctypes and use nothing of Python, so that one wheel serves every version of
Python on a platform. Without a C compiler the wheel is a pure one, and a warning says so: its augmentations
are compiled at first use, or run on torch. Editable installs and the sdist carry no library.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_AUGMENT = Path("equissl", "augment")


class NativeLibraries(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        source = Path(self.root) / _AUGMENT / "native.c"
        native_compile = _load(source.with_name("native_compile.py"))
        self._folder = tempfile.TemporaryDirectory(prefix="equissl-")
        try:
            compiler = native_compile.compiler()
            for name in native_compile.instruction_sets():
                library = native_compile.compile_library(compiler, native_compile.arguments(source, name))
                file = Path(self._folder.name, name)
                file.write_bytes(library)
                file.chmod(0o755)
                place = native_compile.packaged(_AUGMENT / source.name, name)
                build_data["force_include"][str(file)] = place.as_posix()
        except native_compile.BuildError as error:
            build_data["force_include"].clear()
            self.app.display_warning(f"the wheel is a pure one, without compiled augmentations: {error}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform_tag()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._folder.cleanup()


def _load(path: Path) -> ModuleType:
    """A module without its package, whose import needs torch."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _platform_tag() -> str:
    tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    if sys.platform == "darwin":  # the library is of one architecture, even where Python is of two
        tag = tag.replace("universal2", platform.machine())
    return tag
