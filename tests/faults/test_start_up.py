"""A signal before the first step ends in words."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from equissl.cli.main import main
from equissl.data.image_folder import write_images
from equissl.training import loop


@pytest.mark.parametrize("begun", [False, True])
def test_sigterm_during_start_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], begun: bool
) -> None:
    def killed(*arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    write_images(tmp_path / "photos", {"x": 12})
    monkeypatch.setattr(loop, "fit_and_save" if begun else "resolve", killed)
    before, out = signal.getsignal(signal.SIGTERM), tmp_path / "run"
    words = ["pretrain", str(tmp_path / "photos"), f"out={out}", "device=cpu", "batch_size=4"]
    assert main([*words, "encoder.name=test_resnet", "encoder.size=16"]) == 130
    said = capsys.readouterr().err
    rest = f"`equissl resume {out}` goes on from the last checkpoint" if begun else "nothing was written"
    assert f"interrupted by SIGTERM; {rest}" in said
    assert out.exists() == begun and signal.getsignal(signal.SIGTERM) == before


def test_sigterm_of_another_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("equissl.cli.doctor.run", lambda arguments: os.kill(os.getpid(), signal.SIGTERM))
    assert main(["doctor"]) == 130
    assert "interrupted by SIGTERM" in capsys.readouterr().err
