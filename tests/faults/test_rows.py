"""Files that turn bad after the scan are reported by their own name, and no other row moves."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from equissl.api import embed as embed_api
from equissl.api.embed import embed
from equissl.data.folder import image_files
from equissl.data.image_folder import ImageFolder, write_images
from equissl.data.threediebench import ThreeDIEBench
from equissl.errors import UserError
from equissl.evaluate.audit.audit import audit
from equissl.evaluate.audit.options import AuditOptions
from equissl.evaluate.features import extract
from equissl.runs.load import LoadedEncoder, load_encoder

SIZE = 16


def write_noise(folder: Path, names: list[str]) -> None:
    """An image of its own noise for each name."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for name in names:
        noise = generator.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name, "PNG")


def cut(path: Path) -> None:
    """Keep the header, lose the rest."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.fixture
def encoder() -> LoadedEncoder:
    loaded = load_encoder("timm/test_resnet", size=SIZE)
    assert isinstance(loaded, LoadedEncoder)
    return loaded


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """``embed`` decodes images when they are used."""
    streamed = lambda *args, **more: replace(image_files(*args, **more), memory_gb=0.0)  # noqa: E731
    monkeypatch.setattr(embed_api, "image_files", streamed)


def expected(encoder: LoadedEncoder, folder: Path, name: str) -> torch.Tensor:
    """The features of one file alone."""
    pixels = np.asarray(Image.open(folder / name).convert("RGB"))
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    encoder.encoder.eval()
    with torch.no_grad():
        return encoder.encoder(image).vector[0]


NAMES = ["a.png", "b.png", os.fsdecode(b"b\xff.png"), r"b\xff.png", "c.png", "d.png", "e\n.png"]


@pytest.mark.parametrize("bad", range(len(NAMES)))
def test_a_late_bad_file_is_named_itself_and_no_row_moves(
    tmp_path: Path, encoder: LoadedEncoder, streamed: None, bad: int
) -> None:
    folder = tmp_path / "images"
    write_noise(folder, NAMES)
    cut(folder / NAMES[bad])
    table = embed(encoder, folder)
    assert set(table.files) == set(NAMES) - {NAMES[bad]}
    assert [b.path for b in table.skipped] == [NAMES[bad]] and "truncated" in table.skipped[0].reason
    for name, row in zip(table.files, table.features, strict=True):
        torch.testing.assert_close(row, expected(encoder, folder, name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fate", ["cut", "gone", "replaced", "a folder"])
def test_a_file_that_changes_after_the_scan(tmp_path: Path, encoder: LoadedEncoder, fate: str) -> None:
    folder = tmp_path / "images"
    write_noise(folder, ["a.png", "b.png", "c.png"])
    data = ImageFolder(str(folder), SIZE, test_fraction=0.0, max_bad_fraction=1.0, memory_gb=0.0)
    dataset = data.open("train")
    path = folder / "b.png"
    if fate == "cut":
        cut(path)
    elif fate == "replaced":
        Image.new("RGB", (SIZE, SIZE + 3), (99, 0, 0)).save(path)
    else:
        path.unlink()
        if fate == "a folder":
            path.mkdir()
    table = extract(encoder.encoder, dataset, drop_unreadable=True)
    assert table.rows is not None and table.rows.tolist() == [0, 2]
    for row, name in enumerate(["a.png", "c.png"]):
        torch.testing.assert_close(table.vectors[row], expected(encoder, folder, name), rtol=1e-4, atol=1e-5)
    assert [b.path for b in dataset.bad_images] == ["b.png"]
    with pytest.raises(UserError, match=r"1 images became unreadable or changed while .* b\.png"):
        extract(encoder.encoder, dataset)


def test_files_that_all_turn_bad(tmp_path: Path, encoder: LoadedEncoder, streamed: None) -> None:
    write_noise(tmp_path, ["a.png", "b.png"])
    for name in ("a.png", "b.png"):
        cut(tmp_path / name)
    with pytest.raises(UserError, match="none of the 2 images can be read"):
        embed(encoder, tmp_path)


def test_evaluations_never_see_a_stand_in(tmp_path: Path, encoder: LoadedEncoder) -> None:
    write_images(tmp_path, {"a": 40, "b": 40}, side=SIZE)
    data = ImageFolder(str(tmp_path), SIZE, "folders", test_fraction=0.5, max_bad_fraction=0.5, memory_gb=0.0)
    test = data.open("test")
    bad = [3, 4]
    for row in bad:
        cut(tmp_path / test.files[row])
    test = data.open("test")
    assert not test.bad_images  # their headers are whole
    rows = test.readable(torch.arange(len(test)))
    assert rows.tolist() == [k for k in range(len(test)) if k not in bad]
    assert {b.path for b in test.bad_images} == {test.files[k] for k in bad}
    scores = audit(encoder.encoder, data.open("train"), AuditOptions(factors=("brightness",)))
    assert scores


def test_a_pack_whose_shard_is_damaged_late(tmp_path: Path, encoder: LoadedEncoder) -> None:
    data = replace(ThreeDIEBench.example(tmp_path), size=SIZE, memory_gb=0.0, max_bad_fraction=0.9)
    dataset = data.open("train")
    shard = next((tmp_path / "3DIEBench.packed").glob("*.bin"))
    whole = extract(encoder.encoder, dataset)
    os.truncate(shard, shard.stat().st_size // 2)  # once memory-mapped, this killed the process
    table = extract(encoder.encoder, dataset, drop_unreadable=True)
    assert table.rows is not None and 0 < len(table.rows) < len(dataset)
    torch.testing.assert_close(table.vectors, whole.vectors[table.rows])
    assert len(dataset.bad_images) == len(dataset) - len(table.rows)
