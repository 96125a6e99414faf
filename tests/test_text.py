"""Texts from outside: on the terminal, in tables, as names of files and in commands."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from equissl.cli.main import main
from equissl.tables import append_csv, read_csv, write_csv
from equissl.text import cell, file_name, printable, read_cell, shell_path

TEXTS = [
    *("plain.png", "=1+1", "+x", "-x", "@SUM(A1)", "\t=x", "\r=x", "'=x", "''=x", "'plain", "-5", "+1e3"),
    *(
        "a\\b",
        "\\x1b",
        "a\x1b[31mb",
        "line\nbreak",
        'quo"te,comma',
        "\udcff.png",
        "\x9b",
        "\u202egnp",
        "ü.png",
    ),
]


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_a_cell_is_harmless_and_can_be_read_back(text: str) -> None:
    written = cell(text)
    assert read_cell(written) == text
    assert printable(written) == written and written.isprintable()
    written.encode()
    assert written[:1] not in "=+-@" or float(written)


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [["file", "x"], ["=cmd|' /C calc'!A0", -0.5], ["b", -3], ["c", "-1e-3"]])
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines == ["file,x", "'=cmd|' /C calc'!A0,-0.5", "b,-3", "c,-1e-3"]
    assert read_csv(tmp_path / "a.csv")[1] == ["=cmd|' /C calc'!A0", "-0.5"]


def test_rows_are_added_after_a_header(tmp_path: Path) -> None:
    for owner in ("@a", "b"):
        append_csv(tmp_path / "a.csv", ["object", "reason"], [owner, "late\nor never"])
    assert read_csv(tmp_path / "a.csv") == [
        ["object", "reason"],
        ["@a", "late\nor never"],
        ["b", "late\nor never"],
    ]


@pytest.mark.parametrize(
    "text", ["..", ".", "", "/", "../../etc/passwd", "/abs/olute", "a/../b", "\x1b[2J", "c:\\x"]
)
def test_a_file_name_leads_nowhere_else(text: str, tmp_path: Path) -> None:
    name = file_name(text)
    assert name == Path(name).name and name not in (".", "..") and printable(name) == name
    assert (tmp_path / name).resolve().parent == tmp_path.resolve()


@pytest.mark.parametrize(
    "path", ["runs/lr=0.1", "lr=0.1", "seed=3", "-x", "--out", "my run", "it's", "timm/a", "a"]
)
def test_a_path_in_a_suggested_command_is_that_path(path: str) -> None:
    (word,) = shlex.split(shell_path(path))
    assert Path(word) == Path(path) and not word.startswith("-")


def test_the_terminal_gets_no_escapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", f"{tmp_path}/\x1b]0;title\x07\x1b[31mrun"]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said and "\x07" not in said and "\\x1b[31mrun" in said
