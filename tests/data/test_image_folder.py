"""Folders as datasets: laws, bad files, memory, and that both ways of reading agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from equissl.augment.base import Identity
from equissl.data.base import InMemoryDataset
from equissl.data.files.reader import StreamedDataset
from equissl.data.image_folder import ImageFolder, write_images
from equissl.data.loader import batches
from equissl.errors import UserError
from equissl.testing.data import check_dataset
from equissl.views import ViewSpec, make_views


def damage(folder: Path, *names: str) -> None:
    """Keep the header, lose the rest."""
    for name in names:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("memory_gb", [2.0, 0.0])
def test_laws(tmp_path: Path, memory_gb: float) -> None:
    data = replace(ImageFolder.example(tmp_path / "data"), memory_gb=memory_gb)
    check_dataset(data, tmp_path)
    assert isinstance(data.open("train"), InMemoryDataset if memory_gb else StreamedDataset)


def test_decoding_early_or_late_gives_the_same(tmp_path: Path) -> None:
    early = ImageFolder.example(tmp_path / "data")
    late = replace(early, memory_gb=0.0, num_workers=3)
    index = torch.tensor([5, 1, 1, 9])
    one, other = early.open("train").batch(index), late.open("train").batch(index)
    assert torch.equal(one.images["image"], other.images["image"])
    assert torch.equal(one.labels, other.labels)


def test_bad_files_are_left_out_and_listed(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 12})
    damage(tmp_path, "a/3.png")
    (tmp_path / "a" / "7.jpg").write_text("not an image")
    data = ImageFolder(str(tmp_path), size=8, max_bad_fraction=0.2, test_fraction=0.0)
    dataset = data.open("train")
    assert [b.path for b in dataset.bad_images] == ["a/3.png", "a/7.jpg"]
    assert "truncated" in dataset.bad_images[0].reason
    assert isinstance(dataset, InMemoryDataset) and len(dataset) == len(dataset.images) == 11
    clean = tmp_path / "clean"
    write_images(clean, {"a": 12})
    (clean / "a" / "3.png").unlink()
    expected = replace(data, path=str(clean)).open("train").batch(torch.arange(11))
    assert torch.equal(dataset.batch(torch.arange(11)).images["image"], expected.images["image"])


@pytest.mark.parametrize("memory_gb", [2.0, 0.0])
def test_too_many_bad_files_stop_before_training(tmp_path: Path, memory_gb: float) -> None:
    write_images(tmp_path, {"a": 20})
    for k in range(7):
        (tmp_path / "a" / f"{k}.png").write_bytes(b"")
    data = ImageFolder(str(tmp_path), size=8, test_fraction=0.0, memory_gb=memory_gb)
    with pytest.raises(UserError) as caught:
        data.open("train")
    message = str(caught.value)
    assert message.startswith("data.max_bad_fraction=0.05: 7 of 20 images (35.0 %) cannot be read")
    assert "skip them with data.max_bad_fraction=0.35" in message
    assert "\n  a/0.png: empty (0 bytes)\n" in message and message.endswith("and 2 more")
    assert len(replace(data, max_bad_fraction=0.35).open("train")) == 13


def test_nothing_that_can_be_read(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 3})
    damage(tmp_path, "a/0.png", "a/1.png", "a/2.png")
    data = ImageFolder(str(tmp_path), size=8, test_fraction=0.0, max_bad_fraction=1.0)
    with pytest.raises(UserError, match="none of the 3 images can be read"):
        data.open("train")
    with pytest.raises(UserError, match="none of the 3 images can be read"):
        replace(data, memory_gb=0.0).open("train").batch(torch.tensor([1]))


def test_a_file_that_turns_out_bad_late_is_replaced(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 6, "b": 6})
    (tmp_path / "b" / "9.png").touch()
    damage(tmp_path, "a/2.png")
    data = ImageFolder(
        str(tmp_path), size=8, labels="folders", test_fraction=0.0, max_bad_fraction=0.16, memory_gb=0.0
    )
    dataset = data.open("train")
    assert [bad.path for bad in dataset.bad_images] == ["b/9.png"]
    batch = dataset.batch(torch.tensor([3, 2, 8]))
    assert torch.equal(batch.images["image"][0], batch.images["image"][1])
    assert batch.labels.tolist() == [0, -1, 1] and batch.index.tolist() == [3, 2, 8]
    assert [bad.path for bad in dataset.bad_images] == ["b/9.png", "a/2.png"]
    damage(tmp_path, "a/4.png")
    with pytest.raises(UserError, match="3 of 13 images"):
        dataset.batch(torch.tensor([4]))


def test_a_limit_takes_the_same_images_from_all_over_the_folder(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 30, "b": 30})
    data = ImageFolder(str(tmp_path), size=8, labels="folders", test_fraction=0.0, limit=20)
    labels = data.open("train").labels
    assert len(labels) == 20 and set(labels.tolist()) == {0, 1}
    more = replace(data, limit=25).open("train").batch(torch.arange(25)).images["image"]
    fewer = data.open("train").batch(torch.arange(20)).images["image"]
    assert {p.numpy().tobytes() for p in fewer} < {p.numpy().tobytes() for p in more}


def test_progress_is_reported_to_the_end(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 70}, side=4)
    seen: list[tuple[str, int, int]] = []
    ImageFolder(str(tmp_path), size=4, test_fraction=0.0).open("train", lambda *row: seen.append(row))
    assert seen[-1] == ("reading images", 70, 70)
    assert [row[1] for row in seen] == sorted(row[1] for row in seen)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size must be in .*, got 0"),
        ({"fit": "crp"}, "fit='crp' does not exist; did you mean 'crop'?"),
        ({"max_bad_fraction": 5}, r"max_bad_fraction must be in \[0, 1\], got 5"),
        ({"test_fraction": 1.0}, "test_fraction must be at least 0 and below 1, got 1.0"),
        ({"limit": 0}, "limit must be at least 1, got 0"),
        ({"decoding_gb": 0}, "decoding_gb must be above 0, got 0"),
        ({"float_range": (1, 0)}, "float_range must be black and white, two rising numbers"),
        ({"num_workers": -1}, r"num_workers must be in \[0, 1024\], got -1"),
        ({"path": ""}, "path is empty"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(ImageFolder("x"), **settings)


@pytest.mark.parametrize("split", ["nosuch", "val", "tset", "", "train "])
def test_a_split_that_does_not_exist(tmp_path: Path, split: str) -> None:
    data = ImageFolder.example(tmp_path)
    with pytest.raises(UserError, match=r"split='.*' does not exist; .*valid: test, train"):
        data.open(split)  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", ["folder", "nosuch", "", "Folders"])
def test_labels_that_do_not_exist(tmp_path: Path, labels: str) -> None:
    with pytest.raises(UserError, match=r"data.labels='.*' does not exist; "):
        replace(ImageFolder.example(tmp_path), labels=labels).open("train")


def test_a_folder_of_every_kind_of_image_becomes_views(tmp_path: Path) -> None:
    colours: dict[str, Any] = {"RGB": (9, 8, 7), "L": 5, "1": 1, "P": 3, "RGBA": (1, 2, 3, 4)}
    colours |= {"CMYK": (1, 2, 3, 4), "I;16": 900}
    for mode, colour in colours.items():
        Image.new(mode, (20, 14), colour).save(tmp_path / f"{mode.replace(';', '')}.tif")
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "broken.jpg").write_text("hello")
    train = ImageFolder(str(tmp_path), size=8, test_fraction=0.0, max_bad_fraction=0.2).open("train")
    assert len(train) == len(colours) and len(train.bad_images) == 1
    for batch in batches(train, 2, seed=0, epoch=0):
        views = make_views(batch, {"a": ViewSpec(Identity())}, seed=0)
        assert views["a"].images.shape == (2, 3, 8, 8)
        assert len(views["a"].params.space) == 0


def test_images_can_stay_on_a_device(tmp_path: Path) -> None:
    data = ImageFolder.example(tmp_path / "data")
    dataset = data.open("train")
    assert dataset.to(torch.device("cpu")) is dataset
    there = dataset.to(torch.device("meta"))  # any device that is not the CPU
    assert isinstance(there, InMemoryDataset) and there.images.device.type == "meta"
    batch = there.batch(torch.tensor([3, 1]))
    assert batch.images["image"].device.type == "meta" and batch.images["image"].shape == (2, 3, 8, 8)
    assert torch.equal(batch.labels, dataset.batch(torch.tensor([3, 1])).labels)
    assert there.files == dataset.files and torch.equal(there.groups, dataset.groups)
    streamed = replace(data, memory_gb=0.0).open("train")
    assert streamed.to(torch.device("meta")) is streamed


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_images_stay_on_a_gpu_where_they_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = ImageFolder.example(tmp_path / "data").open("train")
    index, gpu = torch.tensor([3, 1, 3]), torch.device("cuda", torch.cuda.current_device())
    found = dataset.to(gpu).batch(index).images["image"]
    assert found.device == gpu and torch.equal(found.cpu(), dataset.batch(index).images["image"])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1 << 40))
    assert dataset.to(gpu) is dataset
