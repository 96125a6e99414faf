"""What is found in a folder, in which order, and how it is split and labelled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from equissl.data.files.labels import natural
from equissl.data.files.scan import scan
from equissl.data.files.split import hash_fraction, split_indices
from equissl.data.image_folder import write_images
from equissl.errors import UserError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_natural_order_at_any_depth(tmp_path: Path) -> None:
    touch(tmp_path, "10.jpg", "2.jpg", "b/1.png", "a10/1.jpg", "a9/1.jpg", "deep/er/x.JPG")
    expected = ("2.jpg", "10.jpg", "a9/1.jpg", "a10/1.jpg", "b/1.png", "deep/er/x.JPG")
    assert scan(str(tmp_path)).files == expected


def test_natural_order_is_total() -> None:
    names = ["1", "01", "a1b", "a01b", "a", "a/b", "a1/b", "", "1a", "²"]
    assert len({natural(n) for n in names}) == len(names)
    ordered = ["", "01", "1", "1a", "a", "a/b", "a1/b", "a01b", "a1b", "²"]
    assert sorted(names, key=natural) == ordered


def test_what_is_hidden_or_no_image_is_left_out(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "a.jpg",
        ".hidden.jpg",
        ".git/b.jpg",
        "notes.txt",
        "Thumbs.db",
        "unknown.xyz",
        "__MACOSX/._a.jpg",
    )
    assert scan(str(tmp_path)).files == ("a.jpg",)


def test_a_file_whose_suffix_says_nothing_is_looked_into(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 1})
    (tmp_path / "a" / "0.png").rename(tmp_path / "a" / "5d41402a")
    touch(tmp_path, "a/README")
    assert scan(str(tmp_path)).files == ("a/5d41402a",)


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.jpg", "data/sub/b.jpg")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "sub" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "self").symlink_to("self")
    (tmp_path / "data" / "gone.jpg").symlink_to("nowhere.jpg")
    assert scan(str(tmp_path / "data")).files == ("gone.jpg", "link/a.jpg", "sub/b.jpg")


def test_links_among_siblings_are_each_followed_once(tmp_path: Path) -> None:
    """Without that their number grows as the factorial of the folders."""
    names = [f"f{k}" for k in range(9)]
    write_images(tmp_path, dict.fromkeys(names, 1))
    for name in names:
        for other in set(names) - {name}:
            (tmp_path / name / f"to_{other}").symlink_to(tmp_path / other)
    files = scan(str(tmp_path)).files
    assert {f"{name}/0.png" for name in names} <= set(files) and len(files) <= 9 + 9 * 8


def test_a_folder_named_like_a_image_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "x.jpg/a.png")
    assert scan(str(tmp_path)).files == ("x.jpg/a.png",)


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff1.jpg", "wb"):
        pass
    (file,) = scan(str(tmp_path)).files
    assert os.fsencode(file) == b"\xff1.jpg"
    assert 0 <= hash_fraction(file, "split") < 1


def test_a_misspelt_folder(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg")
    with pytest.raises(UserError, match=r"imagse.*does not exist.*did you mean .*/images'\?"):
        scan(str(tmp_path / "imagse"))


def test_a_folder_below_one_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path.name}' has no 'qqq'"):
        scan(str(tmp_path / "qqq" / "www"))


def test_an_archive_instead_of_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "data.zip")
    with pytest.raises(UserError, match=r"is a file.*unpack"):
        scan(str(tmp_path / "data.zip"))


def test_a_folder_without_images(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt", "b.txt", "c.npy")
    with pytest.raises(UserError, match=r"no images below .*got 2 \.txt, 1 \.npy"):
        scan(str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="got no files"):
        scan(str(tmp_path / "empty"))


def test_labels_are_never_inferred(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    assert scan(str(tmp_path)).targets == (-1, -1)
    assert scan(str(tmp_path)).classes == ()


def test_labels_from_folders(tmp_path: Path) -> None:
    touch(tmp_path, "class10/1.jpg", "class9/a/1.jpg", "loose.jpg")
    listing = scan(str(tmp_path), "folders")
    assert listing.classes == ("class9", "class10")
    assert dict(zip(listing.files, listing.targets, strict=True)) == {
        "class9/a/1.jpg": 0,
        "class10/1.jpg": 1,
        "loose.jpg": -1,
    }


def test_labels_below_split_folders_share_their_numbers(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "val/ant/1.jpg", "val/dog/1.jpg", "extra/owl/1.jpg")
    listing = scan(str(tmp_path), "folders")
    assert listing.classes == ("ant", "cat", "dog")
    assert listing.files == ("train/cat/1.jpg", "train/dog/1.jpg", "val/ant/1.jpg", "val/dog/1.jpg")
    assert listing.targets == (1, 2, 0, 2)


def test_a_split_folder_without_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "val/1.jpg", "val/2.jpg")
    with pytest.raises(UserError, match=r"/val'.*got images outside of folders"):
        scan(str(tmp_path), "folders")


def test_labels_from_a_table(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "sub/b.jpg", "c.jpg", "d.jpg")
    lines = ["file,label,note", "a.jpg,dog,x", "sub\\b.jpg,cat,", f"{tmp_path}/c.jpg, dog ,", ""]
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    listing = scan(str(tmp_path), "labels.csv")
    assert listing.classes == ("cat", "dog")
    assert dict(zip(listing.files, listing.targets, strict=True)) == {
        "a.jpg": 1,
        "c.jpg": 1,
        "d.jpg": -1,
        "sub/b.jpg": 0,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\na.jpg,x\n", r"needs the columns file and label .got \['name', 'label'\]"),
        ("file;label\na.jpg;x\n", r"separated by commas, in UTF-8"),
        ("file,label\nb.jpg,x\n", r"1 of 1 files .* not images .*'b\.jpg'; did you mean 'a\.jpg'"),
        ("file,label\na.jpg,x\na.jpg,y\n", "gives 'a.jpg' two labels, 'x' and 'y'"),
    ],
)
def test_tables_with_mistakes(tmp_path: Path, text: str, message: str) -> None:
    touch(tmp_path, "a.jpg")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        scan(str(tmp_path), "labels.csv")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("folder", "data.labels='folder' does not exist; did you mean 'folders'"),
        ("lables.csv", "did you mean 'labels.csv'"),
        ("folders", "at least two class folders"),
    ],
)
def test_labels_that_cannot_be_had(tmp_path: Path, labels: str, message: str) -> None:
    touch(tmp_path, "a.jpg", "labels.csv")
    with pytest.raises(UserError, match=message):
        scan(str(tmp_path), labels)


def test_a_split_does_not_change_when_files_are_added(tmp_path: Path) -> None:
    few = [f"sub/{k}.jpg" for k in range(300)]
    many = sorted([*few, *(f"more/{k}.jpg" for k in range(200))], key=natural)
    before = {few[i] for i in split_indices(tmp_path, few, "test", 0.2)}
    after = {many[i] for i in split_indices(tmp_path, many, "test", 0.2)}
    assert before == after & set(few)
    assert 0.14 < len(after) / len(many) < 0.26


@pytest.mark.parametrize("count", [2, 3, 50])
@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_splits_part_the_images_and_none_is_empty(tmp_path: Path, count: int, share: float) -> None:
    files = [f"{k}.jpg" for k in range(count)]
    train, test = (split_indices(tmp_path, files, s, share) for s in ("train", "test"))
    assert sorted(train + test) == list(range(count))
    assert train and test


def test_a_split_that_is_empty(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.test_fraction=0 and 2 images the test split"):
        split_indices(tmp_path, ["a.jpg", "b.jpg"], "test", 0.0)


def test_split_folders_are_the_splits(tmp_path: Path) -> None:
    touch(tmp_path, "train/a.jpg", "test/b.jpg", "val/c.jpg")
    files = scan(str(tmp_path)).files
    assert [files[i] for i in split_indices(tmp_path, files, "train", 0.5)] == ["train/a.jpg"]
    assert [files[i] for i in split_indices(tmp_path, files, "test", 0.5)] == ["test/b.jpg"]


@pytest.mark.parametrize("inner", ["photos", "photos/photos"])
def test_a_folder_that_holds_all_others_is_no_class(tmp_path: Path, inner: str) -> None:
    """What an archive unpacks to: photos/photos/cats; with a text, hidden files and what macOS adds."""
    write_images(tmp_path / inner, {"cats": 3, "dogs": 2})
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    listing = scan(str(tmp_path), "folders")
    assert listing.classes == ("cats", "dogs") and listing.targets == (0, 0, 0, 1, 1)
    assert listing.files[0] == f"{inner}/cats/0.png"  # names stay relative to the folder asked for


def test_split_folders_inside_a_folder_that_holds_all_others(tmp_path: Path) -> None:
    write_images(tmp_path / "photos", {"train/cats": 3, "train/dogs": 2, "val/cats": 1, "val/dogs": 1})
    listing = scan(str(tmp_path), "folders")
    assert listing.classes == ("cats", "dogs")
    rows = split_indices(listing.root, listing.files, "test", 0.1)
    assert [listing.files[i] for i in rows] == ["photos/val/cats/0.png", "photos/val/dogs/0.png"]


def test_a_single_class_is_not_passed_through(tmp_path: Path) -> None:
    write_images(tmp_path, {"cats": 3})
    with pytest.raises(UserError, match=r"at least two class folders .* \['cats'\]"):
        scan(str(tmp_path), "folders")
