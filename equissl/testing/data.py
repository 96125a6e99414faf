"""Laws of datasets that training and evaluation rely on, for any ``Data``."""

from __future__ import annotations

from pathlib import Path

import torch

from equissl.augment.batched import as_float
from equissl.data.base import Data, Dataset, Split
from equissl.data.batch import Batch
from equissl.errors import UserError
from equissl.random import shuffled

MAX_SAMPLES = 64  # per law
_SPLITS: tuple[Split, ...] = ("train", "test")


def check_dataset(data: Data, folder: Path) -> None:
    """All laws on both splits.

    Args:
        folder: empty; two further examples are written to it, which must be equal.

    Raises:
        AssertionError: with the broken law.
    """
    opened = {split: data.open(split) for split in _SPLITS}
    for dataset in opened.values():
        assert dict(data.spaces) == dict(dataset.spaces), "data.spaces and dataset.spaces differ"
        check_lengths(dataset)
        check_batches(dataset, data.size)
        check_order(dataset)
        check_labels(dataset)
    check_unknown_split(data)
    check_disjoint(opened["train"], opened["test"])
    again = data.open("train")
    check_same(opened["train"], again, "opened again")
    assert again.digest == opened["train"].digest, "opened again: another digest"
    assert opened["test"].digest != opened["train"].digest, "both splits have one digest"
    example = type(data).example(folder / "first").open("train")
    check_same(example, type(data).example(folder / "second").open("train"), "written again")


def check_lengths(dataset: Dataset) -> None:
    """There are samples, and one label and one group for each."""
    count = len(dataset)
    assert count > 0, "the split is empty"
    assert dataset.labels.shape == (count,) == dataset.groups.shape, "one label and one group per sample"
    assert dataset.labels.dtype == dataset.groups.dtype == torch.int64, "labels and groups are int64"


def check_batches(dataset: Dataset, size: int) -> None:
    """Images are uint8, or floats in [0, 1], of ``data.size``; params have the spaces of the dataset."""
    for count in (0, 1, min(len(dataset), MAX_SAMPLES)):
        batch = dataset.batch(torch.arange(count))
        assert set(batch.images) == set(batch.params) == set(dataset.spaces), "names of the images"
        for name, images in batch.images.items():
            assert images.shape[0] == count and images.shape[-2:] == (size, size), f"shape of {name}"
            assert images.dtype == torch.uint8 or images.is_floating_point(), f"type of {name}"
            assert not count or 0 <= as_float(images).min() <= as_float(images).max() <= 1, f"range of {name}"
            assert batch.params[name].space == dataset.spaces[name], f"space of {name}"
            assert len(batch.params[name]) == count, f"one value of each factor per {name}"


def check_order(dataset: Dataset) -> None:
    """A batch has the order of its index, with repeats, and a sample does not depend on the others."""
    count = min(len(dataset), MAX_SAMPLES)
    batch = dataset.batch(torch.arange(count), epoch=3)
    for index in (shuffled(count, "order"), torch.tensor([count - 1, 0, count - 1])):
        _assert_equal(dataset.batch(index, epoch=3), _rows(batch, index), "in another order")


def check_labels(dataset: Dataset) -> None:
    """Labels are -1 or the number of a class, and batches carry those of their samples."""
    labels = dataset.labels
    assert labels.min() >= -1 and labels.max() < max(len(dataset.classes), 0), "labels are -1 or a class"
    assert len(set(dataset.classes)) == len(dataset.classes), "class names differ"
    index = shuffled(len(dataset), "labels")[:MAX_SAMPLES]
    batch = dataset.batch(index)
    assert torch.equal(batch.labels, labels[index]), "labels of a batch"
    assert torch.equal(batch.index, index), "numbers of the samples of a batch"


def check_unknown_split(data: Data) -> None:
    """A split that does not exist is refused."""
    try:
        data.open("nosuch")  # type: ignore[arg-type]
    except UserError:
        return
    raise AssertionError("a split that does not exist is opened; call check_split in open")


def check_disjoint(train: Dataset, test: Dataset) -> None:
    """No image is in both splits."""
    both = _contents(train) & _contents(test)
    assert not both, f"{len(both)} images are in both splits"


def check_same(one: Dataset, other: Dataset, how: str) -> None:
    """Two datasets hold the same samples in the same order."""
    assert len(one) == len(other), f"{how}: another number of samples"
    assert one.classes == other.classes, f"{how}: other classes"
    index = torch.arange(min(len(one), MAX_SAMPLES))
    _assert_equal(one.batch(index), other.batch(index), how)


def _contents(dataset: Dataset) -> set[bytes]:
    images = dataset.batch(torch.arange(min(len(dataset), MAX_SAMPLES))).images["image"]
    return {image.numpy().tobytes() for image in images}


def _rows(batch: Batch, index: torch.Tensor) -> Batch:
    rows = {name: images[index] for name, images in batch.images.items()}
    params = {name: values[index] for name, values in batch.params.items()}
    return Batch(rows, params, batch.labels[index], batch.index[index])


def _assert_equal(one: Batch, other: Batch, how: str) -> None:
    for name, images in one.images.items():
        assert torch.equal(images, other.images[name]), f"{name} differs {how}"
        for factor, value in one.params[name].values.items():
            assert torch.equal(value, other.params[name].values[factor]), f"{factor} of {name} differs {how}"
    assert torch.equal(one.labels, other.labels), f"labels differ {how}"
    assert torch.equal(one.index, other.index), f"numbers differ {how}"
