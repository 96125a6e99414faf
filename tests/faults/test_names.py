"""Names that look alike, and names that are not UTF-8: label tables, features, pages, the terminal."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equissl.data.files.scan import scan
from equissl.data.image_folder import ImageFolder
from equissl.errors import UserError
from equissl.evaluate.classification.relabeled import RelabeledDataset

NFC, NFD = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))


def write(root: Path, *names: str) -> None:
    generator = np.random.default_rng(0)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        noise = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / name, "PNG")


def table(root: Path, text: str) -> str:
    (root / "labels.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    return "labels.csv"


@pytest.mark.parametrize(("stored", "written"), [(NFC, NFD), (NFD, NFC), (NFC, NFC), (NFD, NFD)])
def test_a_label_table_in_the_other_unicode_form(tmp_path: Path, stored: str, written: str) -> None:
    write(tmp_path, f"{stored}.png", "b.png")
    listing = scan(str(tmp_path), table(tmp_path, f"file,label\n{written}.png,x\nb.png,y\n"))
    assert dict(zip(listing.files, listing.targets, strict=True)) == {f"{stored}.png": 0, "b.png": 1}


def test_equal_bytes_come_before_the_composed_form(tmp_path: Path) -> None:
    write(tmp_path, f"{NFC}.png", f"{NFD}.png")
    rows = f"file,label\n{NFC}.png,composed\n{NFD}.png,decomposed\n"
    listing = scan(str(tmp_path), table(tmp_path, rows))
    labels = {f: listing.classes[t] for f, t in zip(listing.files, listing.targets, strict=True)}
    assert labels == {f"{NFC}.png": "composed", f"{NFD}.png": "decomposed"}


def test_an_ambiguous_name_is_said(tmp_path: Path) -> None:
    marks = "a\u0323\u0307.png", "a\u0307\u0323.png", "\u1ea1\u0307.png"  # one form of three spellings
    assert len({unicodedata.normalize("NFC", m) for m in marks}) == 1
    write(tmp_path, *marks[:2])
    with pytest.raises(UserError, match=r"labels.csv': .* may mean .* or .*, which look alike"):
        scan(str(tmp_path), table(tmp_path, f"file,label\n{marks[2]},x\n"))


def test_two_labels_for_one_file_by_two_spellings(tmp_path: Path) -> None:
    write(tmp_path, f"{NFC}.png")
    with pytest.raises(UserError, match="two labels, 'x' and 'y'"):
        scan(str(tmp_path), table(tmp_path, f"file,label\n{NFC}.png,x\n{NFD}.png,y\n"))


def test_classes_of_two_splits_in_different_forms_are_one(tmp_path: Path) -> None:
    write(tmp_path, f"train/{NFC}/1.png", "train/b/2.png", f"test/{NFD}/3.png", "test/b/4.png")
    data = ImageFolder(str(tmp_path), size=8, labels="folders")
    assert data.open("train").classes == data.open("test").classes == ("b", NFC)


def test_class_folders_that_look_alike_are_said(tmp_path: Path) -> None:
    write(tmp_path, f"{NFC}/1.png", f"{NFD}/2.png", "b/3.png")
    with pytest.raises(UserError, match="look alike but are written with other Unicode characters"):
        scan(str(tmp_path), "folders")


def test_test_images_from_another_folder(tmp_path: Path) -> None:
    write(tmp_path / "one", *(f"{c}/{k}.png" for c in (NFC, "b") for k in range(3)))
    table_of = f"file,label\nx.png,{NFD}\ny.png,b\n"
    write(tmp_path / "two", "x.png", "y.png")
    train = ImageFolder(str(tmp_path / "one"), 8, "folders", test_fraction=0.0).open("train")
    labels = table(tmp_path / "two", table_of)
    test = ImageFolder(str(tmp_path / "two"), 8, labels, test_fraction=0.0).open("train")
    assert RelabeledDataset(test, train.classes).labels.tolist() == [1, 0]
