"""From images to tables of frozen features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from equissl.augment.base import Augmentation
from equissl.augment.batched import as_float
from equissl.data.base import Dataset
from equissl.data.batch import Batch
from equissl.encoder.encoder import Encoder
from equissl.evaluate.base import Table
from equissl.params import Params, Space, concatenate
from equissl.progress import Progress, no_progress
from equissl.random import Stream
from equissl.views import View


def extract(
    encoder: Encoder,
    dataset: Dataset,
    *,
    index: Tensor | None = None,
    augment: Augmentation | None = None,
    image: str = "image",
    known: bool = True,
    draw: int = 0,
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    progress: Progress = no_progress,
) -> Table:
    """The features of a split, in evaluation mode; the encoder is left as it was found.

    Args:
        index: (N,) which samples, in this order; all of them if absent.
        augment: applied to every image first; its draw joins the known factors in ``params``.
        known: False leaves the factors that the dataset knows out of ``params``.
        draw: which draw of the augmentation, so that several can be compared.
        device: where the encoder is; the table is always on the CPU.

    Raises:
        ValueError: there is no image, or the augmentation redraws a factor the dataset knows.
    """
    index = torch.arange(len(dataset)) if index is None else index
    if not len(index):
        raise ValueError("no images to take features of")
    vectors, params, parts = [], [], {}
    with evaluating(encoder), torch.inference_mode():
        for rows in torch.split(index, batch_size):
            batch = dataset.batch(rows).to(device)
            if not known:
                batch = replace(batch, params={image: Space().neutral(len(rows))})
            view = make_view(batch, augment, image, draw, seed)
            encoded = encoder(view.images)
            vectors.append(encoded.vector.float().cpu())
            params.append(view.params.to("cpu"))
            parts = dict(encoded.parts)
            progress("features", sum(map(len, vectors)), len(index))
    # Joined outside inference mode, so that a table may be trained on.
    return Table(
        torch.cat(vectors),
        dataset.labels[index],
        concatenate(params),
        dataset.groups[index],
        parts,
    )


def make_view(
    batch: Batch,
    augment: Augmentation | None = None,
    image: str = "image",
    draw: int = 0,
    seed: int = 0,
) -> View:
    """One evaluation view of a batch; the plain image without an augmentation."""
    images, known = as_float(batch.images[image]), batch.params[image]
    if augment is None:
        return View(images, known)
    params = drawn(batch, augment, image, draw, seed, batch.index)
    return View(augment.apply(images, params), known | params)


def drawn(batch: Batch, augment: Augmentation, image: str, draw: int, seed: int, owners: Tensor) -> Params:
    """What an augmentation draws for the samples ``owners`` (B,), on the device of the images."""
    images = batch.images[image]
    stream = Stream.of(owners.to(images.device), seed, "evaluate", draw)
    return augment.sample(stream, (images.shape[-2], images.shape[-1]))


def applied(augment: Augmentation, params: Params) -> Tensor:
    """Which images an augmentation did anything to, bool (N,)."""
    flags = [params.applied[name] for name in augment.space.names]
    return torch.stack(flags).any(0) if flags else torch.zeros(len(params), dtype=torch.bool)


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode, and afterwards every submodule in the mode it was in."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
