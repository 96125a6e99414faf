"""Names that look alike, and names that are not UTF-8: label tables, features, pages, the terminal."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equissl.api.embed import embed
from equissl.data.base import BadImage
from equissl.data.files.scan import scan
from equissl.data.image_folder import ImageFolder
from equissl.errors import UserError
from equissl.evaluate.classification.relabeled import RelabeledDataset
from equissl.runs.folder import write_bad_images
from equissl.runs.load import load_encoder
from equissl.storage import read_json, write_json, write_text
from equissl.tables import read_csv
from equissl.text import cell

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


STRANGE = [
    os.fsdecode(b"\xff.png"),
    "\\xff.png",
    "\\udcff.png",
    os.fsdecode(b"a\x80b\n.png"),
    "=1+1.png",
    "'=1.png",
    "\x1b[31mred.png",
    "\u202egnp.exe.png",
    "plain.png",
]


def test_names_of_any_bytes_survive_csv_and_npz(tmp_path: Path) -> None:
    """Each name read back opens its file."""
    folder = tmp_path / "images"
    write(folder, *STRANGE)
    (folder / os.fsdecode(b"bad\xfe.png")).touch()
    encoder = load_encoder("timm/test_resnet", size=8)
    embed(encoder, folder, tmp_path / "out.csv")
    table = embed(encoder, folder, tmp_path / "out.npz")
    (tmp_path / "out.csv").read_bytes().decode("utf-8")
    rows = read_csv(tmp_path / "out.csv")[1:]
    with np.load(tmp_path / "out.npz") as file:
        stored, skipped = file["files"].tolist(), file["skipped"].tolist()
    assert [row[0] for row in rows if row[1] == "ok"] == stored == list(table.files)
    assert set(stored) == set(STRANGE) and all((folder / name).is_file() for name in stored)
    assert skipped[0][0] == rows[-1][0] == os.fsdecode(b"bad\xfe.png")


def test_a_label_table_with_names_of_any_bytes(tmp_path: Path) -> None:
    """As they are, or as the cells that we write."""
    write(tmp_path, *STRANGE)
    raw = "".join(f'"{name}",{k % 2}\n' for k, name in enumerate(STRANGE) if "\n" not in name)
    listing = scan(str(tmp_path), table(tmp_path, f"file,label\n{raw}"))
    assert listing.targets.count(-1) == 1 and listing.classes == ("0", "1")
    (tmp_path / "\\udcff.png").unlink()  # the cell of another file: equal bytes come first
    named = [name for name in STRANGE if name != "\\udcff.png"]
    cells = "".join(f'"{cell(name)}",{k % 2}\n' for k, name in enumerate(named))
    listing = scan(str(tmp_path), table(tmp_path, f"file,label\n{cells}"))
    expected = {name: k % 2 for k, name in enumerate(named)}
    assert dict(zip(listing.files, listing.targets, strict=True)) == expected


def test_pages_rows_and_lists_of_bad_images_take_any_name(tmp_path: Path) -> None:
    for k, name in enumerate(STRANGE):
        write_text(tmp_path / f"{k}.html", f"<p>{name}</p>")
        (tmp_path / f"{k}.html").read_bytes().decode("utf-8")
        write_json(tmp_path / f"{k}.json", {"file": name})
        assert read_json(tmp_path / f"{k}.json") == {"file": name}
    write_bad_images(tmp_path / "bad.csv", [BadImage(name, "empty") for name in STRANGE])
    assert [row[0] for row in read_csv(tmp_path / "bad.csv")[1:]] == STRANGE
