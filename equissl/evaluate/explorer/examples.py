"""Images of what a run was trained on: some images, and one of them under each augmentation."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from equissl.augment.base import Augmentation, Identity, Pipeline
from equissl.augment.batched import as_float
from equissl.data.base import Data, Dataset
from equissl.evaluate.explorer.neighbors import data_uri
from equissl.evaluate.features import whole_batch
from equissl.random import Stream
from equissl.views import ViewSpec

IMAGES = 4  # of the data
DRAWS = 12  # of an augmentation, of which the one that changes the image most is shown


@torch.no_grad()
def example_images(
    data: Data, views: Mapping[str, ViewSpec], dataset: Dataset, rows: Tensor, image: str = "image"
) -> dict[str, object]:
    """What ``examples.json`` holds.

    Returns plain data for JSON: ``{"data": {"title", "about", "images": [data URIs]}, "augmentations":
    [{"title", "about", "original", "changed"}]}``. Sentences are the first lines of docstrings.

    Args:
        views: of the recipe; each augmentation in them is shown once, alone.
        rows: (N,) samples that may be shown.
        image: which of the dataset's images.
    """
    shown = as_float(whole_batch(dataset, rows[:IMAGES]).images[image]).cpu()
    changes: dict[str, dict[str, str]] = {}  # one for each kind, however many views have it
    for step in _steps(spec.augment for spec in views.values()):
        title = _title(step)
        changed = None if title in changes else _changed(step, shown[:1])
        if changed is not None:
            pair = {"original": data_uri(shown[0]), "changed": data_uri(changed)}
            changes[title] = {"title": title, "about": _about(step), **pair}
    images = [data_uri(one) for one in shown]
    return {
        "data": {"title": _title(data), "about": _about(data), "images": images},
        "augmentations": list(changes.values()),
    }


def _steps(augments: Iterable[Augmentation]) -> Iterable[Augmentation]:
    for augment in augments:
        if isinstance(augment, Pipeline):
            yield from _steps(augment.steps)
        elif not isinstance(augment, Identity):
            yield augment


def _changed(step: Augmentation, image: Tensor) -> Tensor | None:
    """The image (1, C, H, W) after one step: (C, h, w); None where the step changes nothing to see."""
    stream = Stream.of(torch.arange(DRAWS), "examples", step.stream_name)
    drawn = step.sample(stream, (image.shape[2], image.shape[3]))
    made = step.apply(image.expand(DRAWS, -1, -1, -1), drawn).clamp(0, 1)
    if made.shape[1:] != image.shape[1:]:
        return made[0]
    gaps = (made - image).abs().flatten(1).mean(1)
    return made[gaps.argmax()] if float(gaps.max()) > 0 else None


def _title(thing: Augmentation | Data) -> str:
    """``Random resized crop`` for the class RandomResizedCrop without a title of its own."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(thing).__name__)
    return str(getattr(thing, "title", "")) or words[:1] + words[1:].lower()


def _about(thing: object) -> str:
    """The first sentence of a docstring, without what is in brackets."""
    line = (inspect.getdoc(type(thing)) or "").partition("\n")[0]
    return re.sub(r"``|\s*\([^()]*\)", "", line.partition("; ")[0]).rstrip(".") + "."
