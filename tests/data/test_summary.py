"""The summary of a folder counts what is there."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equissl.data.files.summary import format_summary, summarise
from equissl.data.image_folder import write_images
from equissl.errors import UserError


def folder(root: Path) -> Path:
    write_images(root, {"cat": 6, "dog": 3}, side=20)
    Image.new("L", (80, 10)).save(root / "dog" / "wide.jpg")
    (root / "dog" / "bad.jpg").write_bytes(b"")
    shutil.copy(root / "cat" / "1.png", root / "dog" / "same.png")
    return root


def test_counts(tmp_path: Path) -> None:
    summary = summarise(str(folder(tmp_path)))
    assert (summary.images, summary.decoded, summary.compared) == (12, 12, 12)
    assert summary.formats == {"PNG": 10, "JPEG": 1}
    assert summary.modes == {"RGB": 10, "L": 1}
    assert (summary.sides[0], summary.sides[-1]) == (10, 20)
    assert (summary.aspects[0], summary.aspects[-1]) == (1, 8)
    assert [b.path for b in summary.bad] == ["dog/bad.jpg"]
    assert summary.folders == {"cat": 6, "dog": 6}
    assert summary.duplicates == (("cat/1.png", "dog/same.png"),)
    assert summary.splits == {}
    assert summary.images_per_second > 0


def test_a_sample_says_that_it_is_one(tmp_path: Path) -> None:
    summary = summarise(str(folder(tmp_path)), sample=5, compare=4)
    assert (summary.images, summary.decoded, summary.compared) == (12, 5, 4)
    text = "\n".join(format_summary(summary))
    assert "of which 5 were decoded" in text and "among 4 compared" in text
    assert "of which" not in "\n".join(format_summary(summarise(str(tmp_path))))


def test_lines_name_what_is_wrong(tmp_path: Path) -> None:
    text = format_summary(summarise(str(folder(tmp_path))))
    assert text[0] == f"12 images below {tmp_path}"
    assert "unreadable: 1 (8.3 %)" in text
    assert "  dog/bad.jpg: empty (0 bytes)" in text
    assert "  cat/1.png = dog/same.png" in text
    assert any("data.labels=folders: cat 6, dog 6" in line for line in text)


def test_split_folders_are_named(tmp_path: Path) -> None:
    write_images(tmp_path, {"train": 3, "val": 2})
    summary = summarise(str(tmp_path))
    assert summary.splits == {"train": "train", "test": "val"}
    assert summary.folders == {}
    assert "splits: train is the folder train, test is the folder val" in format_summary(summary)


def test_equal_images_under_different_labels_are_named(tmp_path: Path) -> None:
    root = folder(tmp_path)
    shutil.copy(root / "cat" / "2.png", root / "cat" / "again.png")
    summary = summarise(str(root))
    assert len(summary.duplicates) == 2
    assert summary.conflicts == (("cat/1.png", "dog/same.png"),)
    text = format_summary(summary)
    found = text.index("equal images under different labels: 1")
    assert text[found + 1] == "  cat/1.png = dog/same.png"
    (root / "dog" / "same.png").unlink()
    assert "different labels" not in "\n".join(format_summary(summarise(str(root))))


def test_the_intensity_range_is_stated(tmp_path: Path) -> None:
    assert "more than 8 bits" not in "\n".join(format_summary(summarise(str(folder(tmp_path / "a")))))
    for k in range(3):
        values = np.full((9, 9), 1000 * (k + 1), dtype=np.uint16)
        Image.fromarray(values).save(tmp_path / "a" / f"{k}.png")
    text = format_summary(summarise(str(tmp_path / "a")))
    assert "more than 8 bits, black and white: whole numbers as data.integer_range=[0,4095]" in text
    Image.fromarray(np.full((9, 9), 0.5, dtype=np.float32)).save(tmp_path / "a" / "f.tif")
    text = format_summary(summarise(str(tmp_path / "a")))
    assert any(line.endswith("[0,4095]; floats as data.float_range=[0,1]") for line in text)


def test_a_folder_of_nothing_but_bad_files(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no")
    assert "unreadable: 1 (100.0 %)" in format_summary(summarise(str(tmp_path)))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        summarise(str(tmp_path / "nothing"))
