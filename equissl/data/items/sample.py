"""Samples of a torch ``Dataset``, or of any sequence of them: images, labels and factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from equissl.data.base import Dataset
from equissl.data.files.split import hash_fraction
from equissl.errors import UserError

IMAGE_KEYS = ("image", "img", "pixel_values")  # of samples that are mappings, as Hugging Face's
LABEL_KEYS = ("label", "labels", "target", "class")
MOST_CLASSES = 1_000_000  # a larger label is the number of something, and classes up to it fill the memory
EXPECTED_ITEM = (
    "expected an image, (image, label), (image, label, factors) or a mapping with 'image', 'label' and "
    "factors by name; an image is one of Pillow, a tensor or an array (C, H, W), or a path"
)


class Item(NamedTuple):
    """A sample: its image, label (None if it has none) and factors by name."""

    image: Any
    label: Any
    factors: Mapping[str, Any]


def is_image(value: object) -> bool:
    """Whether a value is an image of Pillow, a tensor, an array or a path."""
    return isinstance(value, Image.Image | Tensor | np.ndarray | Path | str)


def has_items(images: object) -> bool:
    """Whether images are a torch ``Dataset``, or something else whose samples are asked for by number.

    Raises:
        UserError: a ``DataLoader``, or a dataset that can only be iterated.
    """
    if isinstance(images, DataLoader):
        raise UserError("images: a DataLoader gives batches; pass its dataset: loader.dataset")
    if isinstance(images, IterableDataset):
        kind = type(images).__name__
        raise UserError(f"images: {kind} can only be iterated; expected a dataset with [number] and len()")
    if isinstance(images, Tensor | np.ndarray | str | bytes | Path | Mapping | Dataset | type):
        return False
    if isinstance(images, Sequence):
        return bool(images) and isinstance(images[0], tuple | Mapping)
    by_number = hasattr(images, "__getitem__") and hasattr(images, "__len__")
    return by_number and not hasattr(images, "to_numpy")  # a table of pandas is asked for columns


def read_item(source: Any, number: int) -> Item:
    """Sample ``number`` of a dataset.

    Raises:
        UserError: it cannot be read, or is of another form; names its number.
    """
    try:
        item = source[number]
    except Exception as error:  # whatever a dataset of the user's own raises
        said = f"{type(error).__name__}: {error}"
        raise UserError(f"images: number {number} of {type(source).__name__} fails: {said}") from error
    if isinstance(item, Mapping):
        image = next((item[k] for k in IMAGE_KEYS if k in item), None)
        label_key = next((k for k in LABEL_KEYS if k in item), "")
        others = {str(k): v for k, v in item.items() if k not in (*IMAGE_KEYS, label_key)}
        found = Item(image, item.get(label_key), others)
    elif isinstance(item, tuple | list) and 1 <= len(item) <= 3:
        described = len(item) > 1 and isinstance(item[-1], Mapping)
        factors, labels = (item[-1], item[1:-1]) if described else ({}, item[1:])
        if len(labels) > 1:
            raise refused(number, f"its third part is of type {type(item[2]).__name__}, no mapping")
        found = Item(item[0], labels[0] if labels else None, factors)
    else:
        found = Item(item, None, {})
    if not is_image(found.image):
        what = "no image" if found.image is None else f"an image of type {type(found.image).__name__}"
        raise refused(number, f"it holds {what}")
    return found


def refused(number: int, why: str) -> UserError:
    return UserError(f"images: number {number}: {why}; {EXPECTED_ITEM}")


def chosen(count: int, limit: int | None) -> list[int]:
    """Numbers of at most ``limit`` of ``count`` samples, always the same ones, in their order."""
    if limit is None or limit >= count:
        return list(range(count))
    order = sorted(range(count), key=lambda k: hash_fraction(str(k), "limit"))
    return sorted(order[:limit])


@dataclass(frozen=True)
class Known:
    """What is known of N samples beside their images.

    Args:
        targets: (N,) int64, -1 where a sample has no label.
        classes: by label.
        columns: factor -> N values, as the dataset gives them.
    """

    targets: Tensor
    classes: tuple[str, ...]
    columns: Mapping[str, list[Any]]


def known_of(source: Any, items: Sequence[Item], numbers: Sequence[int]) -> Known:
    """Labels and factors of samples whose images are left out.

    Raises:
        UserError: a label is no integer and no text, or samples have different factors.
    """
    names = list(items[0].factors) if items else []
    for number, item in zip(numbers, items, strict=True):
        if set(item.factors) != set(names):
            raise UserError(
                f"images: number {number} has the factors {list(item.factors)}, the first {names}"
            )
    columns = {n: [_plain(item.factors[n]) for item in items] for n in names}
    labels = [_label(item.label, number) for number, item in zip(numbers, items, strict=True)]
    named = sorted({label for label in labels if isinstance(label, str)})
    if named:
        place = {name: k for k, name in enumerate(named)} | {-1: -1}
        if odd := [label for label in labels if label not in place]:
            raise UserError(f"images: labels are texts, but one is {odd[0]!r}")
        return Known(torch.tensor([place[x] for x in labels]), tuple(named), columns)
    targets = torch.tensor([int(x) for x in labels], dtype=torch.int64)
    return Known(targets, _classes(source, int(targets.max()) + 1 if len(targets) else 0), columns)


def _plain(value: Any) -> Any:
    """A number of torch or numpy as one of Python; anything else as it is."""
    single = isinstance(value, Tensor | np.ndarray | np.generic) and value.shape in ((), (1,))
    return value.item() if single else value


def _label(label: Any, number: int) -> int | str:
    plain = _plain(label)
    if plain is None:
        return -1
    if not isinstance(plain, int | str) or (isinstance(plain, int) and not -1 <= plain < MOST_CLASSES):
        raise UserError(
            f"images: the label of number {number} is {str(label)[:60]!r}, of type {type(label).__name__}; "
            f"expected an integer from 0 (-1 for none) to {MOST_CLASSES - 1:,} or a text; what was measured "
            "belongs among the factors"
        )
    return plain


def _classes(source: Any, count: int) -> tuple[str, ...]:
    """Names of classes that the dataset, or the one that it is a part of, states; else their numbers."""
    while source is not None:
        features = getattr(source, "features", None)
        stated = getattr(source, "classes", None)
        if isinstance(features, Mapping):  # of Hugging Face's datasets
            stated = next((getattr(features[k], "names", None) for k in LABEL_KEYS if k in features), None)
        if isinstance(stated, list | tuple) and len(stated) >= count:
            return tuple(map(str, stated)) if count else ()
        source = getattr(source, "dataset", None)
    return tuple(map(str, range(count)))
