"""Compile ``native.c`` for an instruction set of a processor, with the system's C compiler.

Imports the standard library only: ``hatch_build.py`` loads this file while a wheel is built, where torch is
not installed.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

# A fused multiply-add rounds once where a product and a sum round twice, so none is allowed: every
# instruction set gives the same bits.
_FLAGS = ("-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
_X86_64 = {  # the best first, under the names of torch.backends.cpu.get_cpu_capability()
    "avx512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"),
    "avx2": ("-mavx2",),
    "baseline": (),
}
_OTHER: dict[str, tuple[str, ...]] = {"baseline": ()}  # NEON is part of every aarch64
_TIMEOUT = 120.0  # seconds; it takes about two on an idle machine


class BuildError(Exception):
    """There is no library, for the reason given in words."""


def instruction_sets() -> dict[str, tuple[str, ...]]:
    """Those that ``native.c`` is compiled for on this architecture, the best first, and their flags."""
    return _X86_64 if platform.machine().lower() in ("x86_64", "amd64") else _OTHER


def packaged(source: Path, instruction_set: str) -> Path:
    """Where a wheel has the library of a C file.

    In a folder of its own, since a *.so among the modules of a package is taken for one of them.
    """
    return source.parent / "compiled" / f"{source.stem}-{instruction_set}.so"


def compiler() -> list[str]:
    """``CC`` of the environment (a program, or one with arguments), otherwise cc, gcc or clang.

    Raises:
        BuildError: there is none.
    """
    if os.name == "nt":
        raise BuildError("compiled augmentations are not supported on Windows")
    given = os.environ.get("CC", "").strip()
    try:
        command = [given] if shutil.which(given) else shlex.split(given)
    except ValueError as error:  # quotes that do not close
        raise BuildError(f"CC={given!r} is no command: {error}") from error
    default = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if not command and default is None:
        raise BuildError("there is no C compiler (cc, gcc or clang)")
    return command or [str(default)]


def arguments(source: Path, instruction_set: str) -> list[str]:
    """What the compiler is given, but for the output."""
    return [*_FLAGS, *instruction_sets()[instruction_set], str(source), "-lm"]


def compile_library(command: Sequence[str], given: Sequence[str]) -> bytes:
    """The content of the shared library.

    Args:
        command: of ``compiler()``.
        given: of ``arguments()``.

    Raises:
        BuildError: the compiler cannot be started, fails, does not end or writes nothing.
    """
    name = shlex.join(command)
    try:
        with tempfile.TemporaryDirectory(prefix="equissl-") as folder:
            out = Path(folder) / "library.so"
            status, said = run([*command, *given, "-o", str(out)], f"the C compiler {name!r}")
            if status or not out.is_file():
                raise BuildError(f"the C compiler {name!r} made no library ({said})")
            return out.read_bytes()
    except (OSError, ValueError) as error:
        raise BuildError(f"the C compiler {name!r} cannot be run: {error}") from error


def run(command: Sequence[str], name: str) -> tuple[int, str]:
    """Exit status of a program and the last line that it wrote to stderr.

    Raises:
        BuildError: it did not end.
    """
    with tempfile.TemporaryFile() as errors:
        program = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        try:
            status = program.wait(_TIMEOUT)
        except BaseException as error:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise BuildError(f"{name} did not end within {_TIMEOUT:.0f} s") from error
            raise
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - 2000))
        lines = errors.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return status, f"exit status {status}" + (f": {last[:300]!r}" if last else "")
