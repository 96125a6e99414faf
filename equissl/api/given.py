"""A model and images as a user holds them, made to fit each other."""

from __future__ import annotations

from typing import Any

from equissl.data.base import Dataset
from equissl.data.given_images import Images, image_shape, is_resized, open_images
from equissl.errors import UserError
from equissl.progress import Progress
from equissl.runs.given import Given, load_given
from equissl.runs.load import Loaded


def load_with_images(
    model: Given,
    images: Images,
    size: int,
    progress: Progress,
    limit: int | None = None,
    **given: Any,
) -> tuple[Loaded, Dataset]:
    """The model, built for the size of images that have one, and the images, otherwise in its size.

    Raises:
        UserError: ``size`` is not that of images that are not resized.
    """
    if is_resized(images):
        loaded = load_given(model, size=size, **given)
        side = size or loaded.config.size
        return loaded, open_images(images, side, loaded.fit, loaded.intensity, progress, limit)
    dataset = open_images(images, size, progress=progress, limit=limit)
    if not len(dataset):
        raise UserError("images: there are none")
    shape = image_shape(dataset)
    if size and set(shape[1:]) != {size}:
        raise UserError(
            f"size={size}: the images are of {shape[1]} x {shape[2]} px and stay as they are; resize them, "
            "or pass images of Pillow, paths or a folder"
        )
    return load_given(model, shape=shape, size=shape[2] if shape[1] == shape[2] else 0, **given), dataset
