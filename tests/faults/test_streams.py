"""The command line writes to any terminal, locale, pipe or closed descriptor without an error of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from equissl.cli.main import main
from equissl.cli.streams import own_warnings_in_words, prepare_streams
from equissl.data.image_folder import write_images

PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run(*words: str, redirect: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "equissl", *words]
    if redirect:
        command = ["bash", "-c", f'exec "$@" {redirect}', "bash", *command]
    return subprocess.run(command, capture_output=True, env={**os.environ, **environment}, check=False)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8", "cp437"])
def test_any_encoding_takes_any_text(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    buffers = {name: io.BytesIO() for name in ("stdout", "stderr")}
    for name, buffer in buffers.items():
        monkeypatch.setattr(sys, name, io.TextIOWrapper(buffer, encoding))
    prepare_streams()
    for stream in (sys.stdout, sys.stderr):
        print("R² 0.5 ± 0.1 · a\udcff\u4e2d…", file=stream, flush=True)
    if encoding == "ascii":
        assert buffers["stdout"].getvalue() == rb"R2 0.5 ~ 0.1 - a\udcff\u4e2d~" + b"\n"
    for buffer in buffers.values():
        assert buffer.getvalue().endswith(b"\n") and b"\\udcff" in buffer.getvalue()


def test_names_of_any_bytes_under_the_c_locale(tmp_path: Path) -> None:
    write_images(tmp_path / "images", {"caf\u00e9": 2, "b": 2})
    for name in (b"b/\xff.png", "b/\u4e2d.png".encode(), b"b/\x1b[31m.png"):
        (tmp_path / "images" / os.fsdecode(name)).touch()
    done = run("check", str(tmp_path / "images"), **PLAIN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii() and b"unreadable: 3" in done.stdout and b"\x1b" not in done.stdout


def test_a_mistake_under_the_c_locale(tmp_path: Path) -> None:
    done = run("check", str(tmp_path / "caf\u00e9"), **PLAIN)
    assert done.returncode == 2 and b"does not exist" in done.stderr and b"Traceback" not in done.stderr


def test_streams_that_are_closed_or_end_early() -> None:
    for redirect in (">&-", "2>&-", ">&- 2>&-", "| head -n 1"):
        done = run("--version", redirect=redirect)
        assert done.returncode == 0 and not done.stderr, redirect
    full = run("--version", redirect="> /dev/full")
    assert full.returncode == 2 and b"fault of equissl" not in full.stderr


def test_closed_streams_within_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["list", "objectives"]) in (0, 2) and main(["nosuch"]) == 2


def test_a_warning_of_our_own_is_one_line() -> None:
    def shown(file: str) -> str:
        return warnings.formatwarning("slower here", UserWarning, file, 7)

    own = main.__code__.co_filename
    with own_warnings_in_words():
        assert shown(own) == "warning: slower here\n"
        assert "UserWarning" in shown(__file__)
    assert "UserWarning" in shown(own)
