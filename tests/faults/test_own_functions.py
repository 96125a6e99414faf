"""Functions that a user names as ``module:function``: what fails in them is said in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from equissl.cli.main import main
from equissl.data.image_folder import write_images


@pytest.mark.parametrize(
    "words",
    [
        ["pretrain", "out=run", "recipe=equissl.invariance:VICReg"],
        ["pretrain", "out=run", "recipe=os:getcwd"],
        ["check", "views=a.html", "recipe=own:failing"],
        ["pretrain", "out=run", "encoder.name=own:failing", "encoder.size=16"],
        ["study", "equissl.invariance:VICReg", "out=s"],
        ["study", "os:getcwd", "out=s"],
        ["study", "own:failing", "out=s"],
        ["study", "builtins:dict", "out=s"],
    ],
)
def test_a_function_that_fails_is_named(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own.py").write_text("def failing():\n    raise KeyError('colour')\n", encoding="utf-8")
    write_images(tmp_path / "photos", {"a": 12, "b": 12})
    assert main([*words, "data=photos"]) == 2
    shown = capsys.readouterr().err
    assert "fault" not in shown and "error" in shown
