"""One process at a time in a folder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from equissl import locks
from equissl.errors import UserError
from equissl.locks import folder_lock

HOLD = """
import sys
from pathlib import Path
from equissl.locks import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_with_the_first_named(tmp_path: Path) -> None:
    with hold(tmp_path) as process:
        with pytest.raises(UserError, match=rf"in use by process {process.pid} on '{socket.gethostname()}'"):
            folder_lock(tmp_path).__enter__()
        with folder_lock(tmp_path, ".other.lock"):  # other work may go on
            pass
        assert process.stdin is not None
        process.stdin.close()
        with folder_lock(tmp_path, wait=30):
            pass
    assert not list(tmp_path.iterdir())


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    with hold(tmp_path) as process:
        process.kill()
        process.wait()
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]
    with folder_lock(tmp_path), folder_lock(tmp_path / "."):  # one process may hold it twice
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()
    assert not list(tmp_path.iterdir())


def test_a_system_without_locks_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    with pytest.warns(UserWarning, match="let no second process"), folder_lock(tmp_path):
        pass
