"""Test images from another folder than the training images, their classes matched by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from equissl.data.base import BadImage, Dataset
from equissl.data.batch import Batch
from equissl.data.files.names import match_names
from equissl.errors import UserError
from equissl.params import Params, Space


class RelabeledDataset(Dataset):
    """A dataset whose labels are numbered as in another, by the names of their classes.

    Args:
        dataset: any.
        classes: names in the order of the other dataset.

    Raises:
        UserError: a class of ``dataset`` is not among them.
    """

    def __init__(self, dataset: Dataset, classes: tuple[str, ...]):
        matches = match_names(dataset.classes, classes)
        unknown = [name for name in dataset.classes if name not in matches]
        if unknown:
            raise UserError(
                f"test images have classes that no training image has: {_listed(unknown)}; "
                f"training has {_listed(classes) or 'none'}"
            )
        self._dataset, self._classes = dataset, classes
        # One more number at the end, which -1 (no label) points to.
        numbers = torch.tensor([*(classes.index(matches[name]) for name in dataset.classes), -1])
        self._labels: Tensor = numbers[dataset.labels]

    @property
    def spaces(self) -> Mapping[str, Space]:
        return self._dataset.spaces

    @property
    def labels(self) -> Tensor:
        return self._labels

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def groups(self) -> Tensor:
        return self._dataset.groups

    @property
    def bad_images(self) -> tuple[BadImage, ...]:
        return self._dataset.bad_images

    @property
    def files(self) -> tuple[str, ...]:
        return self._dataset.files

    def render(self, index: Tensor, params: Params) -> Tensor | None:
        return self._dataset.render(index, params)

    def fingerprint(self, index: Tensor) -> str:
        return f"{self._dataset.fingerprint(index)} {self._labels[index].tolist()}"

    @cached_property
    def digest(self) -> str:
        return f"{self._dataset.digest} {self._labels.tolist()}"

    def batch(self, index: Tensor, epoch: int = 0) -> Batch:
        batch = self._dataset.batch(index, epoch)
        return replace(batch, labels=self._labels[index])

    def readable(self, index: Tensor) -> Tensor:
        return self._dataset.readable(index)


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
