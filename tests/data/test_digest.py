"""The digest of a dataset: equal for equal data wherever they lie, another one after any change."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from equissl.data.base import InMemoryDataset
from equissl.data.image_folder import ImageFolder, write_images
from equissl.data.threediebench import ThreeDIEBench


@pytest.mark.parametrize("memory_gb", [2.0, 0.0])
def test_a_moved_folder_has_the_same_digest(tmp_path: Path, memory_gb: float) -> None:
    data = replace(ImageFolder.example(tmp_path / "here"), memory_gb=memory_gb)
    before = data.open("train").digest
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert replace(data, path=str(tmp_path / "there")).open("train").digest == before


@pytest.mark.parametrize("memory_gb", [2.0, 0.0])
def test_other_pixels_under_the_same_name_have_another(tmp_path: Path, memory_gb: float) -> None:
    write_images(tmp_path, {"a": 4})
    data = ImageFolder(str(tmp_path), size=8, test_fraction=0.0, memory_gb=memory_gb)
    before = data.open("train").digest
    path = tmp_path / "a" / "0.png"
    time = path.stat().st_mtime_ns
    image = Image.open(path).convert("RGB")
    image.putpixel((5, 5), (0, 0, 0))
    image.save(path)
    os.utime(path, ns=(time, time + (memory_gb == 0)))  # content in memory counts whatever the times say
    assert data.open("train").digest != before


def test_labels_and_size_are_part_of_it(tmp_path: Path) -> None:
    for memory_gb in (2.0, 0.0):
        data = replace(ImageFolder.example(tmp_path / str(memory_gb)), memory_gb=memory_gb)
        variants = [data, replace(data, labels="none"), replace(data, size=9)]
        assert len({v.open("train").digest for v in variants}) == 3


def test_it_is_of_the_files_as_they_were_opened(tmp_path: Path) -> None:
    """An image that turns out bad in training has its label removed; the run's data are the same."""
    write_images(tmp_path, {"a": 6, "b": 6})
    whole = (tmp_path / "a" / "2.png").read_bytes()
    (tmp_path / "a" / "2.png").write_bytes(whole[: len(whole) // 2])
    data = ImageFolder(str(tmp_path), 8, "folders", test_fraction=0.0, max_bad_fraction=0.5, memory_gb=0.0)
    dataset = data.open("train")
    dataset.batch(torch.arange(12))
    assert dataset.bad_images and dataset.digest == data.open("train").digest


def test_a_pack_is_known_by_its_index_and_shards(tmp_path: Path) -> None:
    data = ThreeDIEBench.example(tmp_path)
    before = {gb: replace(data, memory_gb=gb).open("train").digest for gb in (2.0, 0.0)}
    shard = next((tmp_path / "3DIEBench.packed").glob("*.bin"))
    content = bytearray(shard.read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    shard.write_bytes(content)
    loaded, streamed = (replace(data, memory_gb=gb, max_bad_fraction=0.9) for gb in (2.0, 0.0))
    assert loaded.open("train").digest != before[2.0]
    assert streamed.open("train").digest != before[0.0]


def test_partners_are_not_hashed_twice(tmp_path: Path) -> None:
    dataset = ThreeDIEBench.example(tmp_path).open("train")
    assert isinstance(dataset, InMemoryDataset)
    assert dataset.digest == replace(dataset, paired=False).digest
