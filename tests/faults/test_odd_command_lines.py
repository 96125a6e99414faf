"""Command lines that are unusual but plausible: each works or ends in words, and destroys nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equissl.cli.main import main
from equissl.config.parse import parse
from equissl.evaluate.audit.options import MIN_IMAGES


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / name)
    return folder


@pytest.mark.parametrize("name", ["photos/a.png", "run/log.jsonl", "run/last.pt", "photos"])
def test_a_page_replaces_no_file_of_another_kind(
    name: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / name
    run.mkdir()
    (run / "log.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    (run / "last.pt").write_bytes(b"weights")
    before = out.read_bytes() if out.is_file() else b""
    for words in (["report", str(run), f"out={out}"], ["check", str(photos), f"views={out}"]):
        assert main(words) == 2
        assert "expected a page to write" in capsys.readouterr().err
    assert (out.read_bytes() if out.is_file() else b"") == before


def test_images_with_other_channels_than_the_encoder(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["embed", "timm/test_resnet", f"data={photos}", f"out={tmp_path / 'a.csv'}", "size=16"]
    assert main([*words, "mean=0.5", "std=0.5", "device=cpu"]) == 2
    assert "the images have 3 channels, the encoder takes 1" in capsys.readouterr().err


def test_too_few_images_for_an_audit_are_refused_at_once(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "timm/nosuch", f"data={photos}", f"count={MIN_IMAGES - 1}"]) == 2
    assert f"count must be at least {MIN_IMAGES}" in capsys.readouterr().err


def test_a_pair_that_may_be_absent_takes_commas() -> None:
    assert parse("0,4095", tuple[int, int] | None, "x") == parse("[0,4095]", tuple[int, int] | None, "x")
    assert parse("null", tuple[int, int] | None, "x") is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "views.a.augment.steps.1=equissl.augment:PatchMask",
            "views: patches are masked, but the encoder",
        ),
        ("views.b.augment.steps.0=equissl.augment:ColorJitter", "views.b: factor names must differ, but"),
    ],
)
def test_views_that_do_not_fit_are_refused_before_there_is_a_run(
    setting: str, message: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pretrain", f"data={photos}", f"out={tmp_path / 'run'}", "recipe=equimod.simclr_cifar10"]
    words += ["encoder.name=test_resnet", "encoder.stem=timm", "encoder.options={}", "encoder.size=16"]
    words += ["data.size=16", "data.test_fraction=0", "batch_size=2", "epochs=1", "device=cpu", "loggers=[]"]
    assert main([*words, setting]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
