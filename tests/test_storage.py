"""A file appears whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from equissl import storage, temporary
from equissl.errors import UserError


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    storage.write_text(path, "old")

    def interrupted() -> None:
        with storage.atomic_open(path) as file:
            file.write("half")
            file.flush()
            assert path.read_text() == "old"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    with storage.atomic_open(path, "wb") as first, storage.atomic_open(path, "wb") as second:
        first.write(b"first")
        second.write(b"second")
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]


def test_a_temporary_folder_is_removed_with_its_files(tmp_path: Path) -> None:
    with temporary.temporary_sibling(tmp_path / "folder") as folder:
        folder.mkdir()
        storage.write_json(folder / "a.json", {})
    assert not list(tmp_path.iterdir())


def test_rows_survive_a_torn_last_line(tmp_path: Path) -> None:
    path, rows = tmp_path / "rows.jsonl", [{"a": 1}, {"a": 2}]
    assert storage.read_rows(path) == []
    storage.write_rows(path, rows)
    with path.open("a") as file:
        file.write('{"a": ')
    assert storage.read_rows(path) == rows


def test_json_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(UserError, match=r"no file .*a\.json"):
        storage.read_json(path)
    path.write_text("{")
    with pytest.raises(UserError, match=r"a\.json is not valid JSON"):
        storage.read_json(path)


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """By process and its start, so that a number used again is recognised; of other machines after a day."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    tag = temporary._tag()
    host, pid, start, _ = re.split("-", tag)
    dead = [f"{host}-{ended.pid}-123-0", f"{host}-{pid}-{int(start) + 1}-0", "00000000-1-1-0"]
    alive = [f"{host}-{pid}-{start}-77", "00000001-1-1-0"]
    for number in (*dead, *alive):
        (tmp_path / f".last.pt.{number}.part").write_bytes(b"x")
    (tmp_path / f".run.{dead[0]}.part").mkdir()
    (tmp_path / f".run.{dead[0]}.part" / "recipe.json").write_text("{}")
    (tmp_path / ".hidden.part").touch()
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(tmp_path / f".last.pt.{dead[2]}.part", (two_days_ago, two_days_ago))
    storage.write_text(tmp_path / "new.txt", "")
    assert {p.name for p in tmp_path.iterdir()} == {
        "new.txt",
        ".hidden.part",
        *(f".last.pt.{number}.part" for number in alive),
    }


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EFBIG, "larger than"),
        (errno.EIO, "reports an error"),
    ],
)
def test_a_failed_write_says_why_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    path = tmp_path / "file.txt"
    storage.write_text(path, "old")

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(storage.WriteError, match=rf"file\.txt' was not written, .*{words}.*unchanged"):
        storage.write_text(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


LIMITED = """
import resource, signal, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from equissl import storage
from equissl.training import checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder, values = Path(sys.argv[1]), {"a": torch.ones(100_000)}
small = dict.fromkeys(("step", "epoch", "batch", "world_size"), 1) | {"data": "0/x"}
small |= {n: {} for n in ("model", "optimizer", "scaler", "random", "recipe")}
checkpoint.save(folder, small)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
def safetensors():
    with storage.atomic_path(folder / "b.safetensors") as path:
        save_file(values, path)
for write in (lambda: checkpoint.save(folder, values), safetensors):
    try:
        write()
    except storage.WriteError as error:
        print(error)
print(sorted(p.name for p in folder.iterdir()), checkpoint.load(folder)["step"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_libraries_that_hide_the_systems_error(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk; torch and safetensors raise their own errors."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path], capture_output=True, text=True, check=True
    )
    first, second, files = done.stdout.splitlines()
    assert "last.pt' was not written" in first and "b.safetensors' was not written" in second
    assert files == "['last.pt'] 1"


def test_texts_hold_no_escapes(tmp_path: Path) -> None:
    """Pages and tables name files, whose names are anybody's."""
    storage.write_text(tmp_path / "page.html", "a\x1b[31mb \u202egnp \udcff\n")
    assert (tmp_path / "page.html").read_text() == "a\\x1b[31mb \\u202egnp \\udcff\n"


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_pipe").symlink_to("pipe")
    for name in ("folder", "pipe", "to_pipe"):
        with pytest.raises(storage.WriteError, match=rf"{name}' is .*expected a file"):
            storage.write_text(tmp_path / name, "x")
    with pytest.raises(storage.WriteError, match="no regular file"):
        storage.write_text(Path("/dev/null"), "x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode) and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "real.txt", tmp_path / "link.txt"
    link.symlink_to(target)
    for content in ("new", "newer"):
        storage.write_text(link, content)
        assert link.is_symlink() and not target.is_symlink() and target.read_text() == content
    assert [p.name for p in target.parent.iterdir()] == ["real.txt"]


def test_permissions_are_ordinary(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        storage.write_text(tmp_path / "new", "")
        with storage.atomic_path(tmp_path / "library") as path:  # as safetensors does
            path.unlink()
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "library").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o600)
    storage.write_text(tmp_path / "new", "again")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


def test_folders_are_made_and_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    storage.write_text(tmp_path / "a" / "b" / "file", "x")
    with pytest.raises(storage.WriteError, match="a file is where a folder should be"):
        storage.write_text(tmp_path / "a" / "b" / "file" / "c", "x")
    storage.write_text(tmp_path / ("n" * 255), "x")  # the temporary name is not longer than allowed
    with pytest.raises(storage.WriteError, match="name is too long"):
        storage.write_text(tmp_path / ("n" * 256), "x")


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def killed() -> None:
        with storage.atomic_folder(tmp_path / "run") as partial:
            storage.write_text(partial / "a", "x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        killed()
    assert not list(tmp_path.iterdir())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / temporary.LOCK).touch()  # left by a killed process
    with storage.atomic_folder(tmp_path / "run") as partial:
        storage.write_text(partial / "a", "x")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["a"]
    with (
        pytest.raises(storage.WriteError, match="another process has made it"),
        storage.atomic_folder(tmp_path / "run"),
    ):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
