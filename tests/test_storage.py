"""A file appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

import equissl
from equissl import storage
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
    with storage.temporary_sibling(tmp_path / "folder") as folder:
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


def test_no_other_file_makes_its_own_temporary_names() -> None:
    root = Path(equissl.__file__).parent
    users = [p.name for p in root.rglob("*.py") if "getpid" in p.read_text() or "os.replace" in p.read_text()]
    assert users == ["storage.py"]
