"""Published datasets: laws on tiny copies, and what is said when the files are not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torchvision import datasets

from equissl.data.base import Data
from equissl.data.image_folder import write_images
from equissl.data.torchvision_sets import Cifar10, Cifar100, Flowers102, Stl10, imagenet
from equissl.errors import UserError
from equissl.testing.data import check_dataset

CLASSES = [Cifar10, Cifar100, Stl10, Flowers102]


@pytest.mark.parametrize("cls", CLASSES)
def test_laws(cls: type[Data], tmp_path: Path) -> None:
    check_dataset(cls.example(tmp_path / "data"), tmp_path)


@pytest.mark.parametrize("cls", CLASSES)
def test_missing_files(cls: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        cls(path=str(tmp_path)).open("train")
    message = str(caught.value)
    assert str(tmp_path / cls.folder) in message and "data.download=true" in message
    assert cls.source.split()[0] in message


@pytest.mark.parametrize("cls", CLASSES)
def test_files_that_differ_from_the_published_ones(cls: Any, tmp_path: Path) -> None:
    copy = cls.example(tmp_path)
    with pytest.raises(UserError, match=r"missing or differ .* data.verify=false"):
        replace(copy, verify=True).open("test")


@pytest.mark.parametrize("cls", CLASSES)
def test_the_folder_itself_may_be_named(cls: Any, tmp_path: Path) -> None:
    copy = cls.example(tmp_path)
    inside = replace(copy, path=str(tmp_path / cls.folder))
    assert len(inside.open("test")) == len(copy.open("test"))


def test_a_download_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(self: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(datasets.CIFAR10, "download", offline)
    with pytest.raises(UserError, match=r"could not be downloaded .*no route.* unpack cifar-10-python"):
        Cifar10(str(tmp_path), download=True).open("train")


def test_a_damaged_copy_that_is_not_verified(tmp_path: Path) -> None:
    copy = Cifar10.example(tmp_path)
    (tmp_path / Cifar10.folder / "test_batch").write_bytes(b"\x80garbage")
    with pytest.raises(UserError, match="missing or differ"):
        copy.open("test")


def test_checksums_of_torchvision_stay_as_they_are(tmp_path: Path) -> None:
    before = str(datasets.CIFAR10.train_list)
    Cifar10.example(tmp_path).open("train")
    assert str(datasets.CIFAR10.train_list) == before and "None" not in before


def test_cifar_keeps_pixels_and_labels(tmp_path: Path) -> None:
    data = replace(Cifar10.example(tmp_path), size=32)
    dataset, truth = data.open("test"), data.load(train=False)
    images = dataset.batch(torch.arange(4)).images["image"]
    assert torch.equal(images.permute(0, 2, 3, 1), torch.from_numpy(truth.data))
    assert dataset.labels.tolist() == truth.targets
    assert dataset.classes == ("airplane", "bird")


def test_limit(tmp_path: Path) -> None:
    data = Cifar10.example(tmp_path)
    assert len(data.open("train")) == 20
    assert len(replace(data, limit=7).open("train")) == 7
    assert len(replace(data, limit=50).open("train")) == 20


def test_unlabelled_images_of_stl10(tmp_path: Path) -> None:
    data = Stl10.example(tmp_path)
    assert data.open("train").labels.lt(0).sum() == 3
    assert data.open("test").labels.ge(0).all()
    assert len(replace(data, unlabeled=False).open("train")) == 6


def test_flowers_train_on_the_validation_set_too(tmp_path: Path) -> None:
    data = Flowers102.example(tmp_path)
    assert data.open("train").labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert data.open("test").labels.tolist() == [2, 2, 2]
    assert len(data.open("test").classes) == 102


def test_imagenet_has_its_own_validation_set(tmp_path: Path) -> None:
    layout = {f"{split}/{name}": 2 for split in ("train", "val") for name in ("n01440764", "n02102040")}
    write_images(tmp_path, layout)
    data = imagenet(str(tmp_path), size=8)
    assert data.open("test").labels.tolist() == [0, 0, 1, 1]
    assert data.open("train").classes == ("n01440764", "n02102040")
