"""From pictures to tables of frozen features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from equissl.augment.base import Augmentation
from equissl.augment.rows import as_float
from equissl.data.base import Dataset, Progress, quiet
from equissl.encoder.encoder import Encoder
from equissl.evaluate.base import Table
from equissl.params import Params, Space, concatenate
from equissl.random import Stream
from equissl.views import Batch, View


def extract(
    encoder: Encoder,
    dataset: Dataset,
    *,
    index: Tensor | None = None,
    augment: Augmentation | None = None,
    picture: str = "image",
    known: bool = True,
    draw: int = 0,
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    progress: Progress = quiet,
) -> Table:
    """The features of a split, in evaluation mode; the encoder is left as it was found.

    Args:
        index: (N,) which samples, in this order; all of them if absent.
        augment: applied to every picture first; its draw joins the known factors in ``params``.
        known: False leaves the factors that the dataset knows out of ``params``.
        draw: which draw of the augmentation, so that several can be compared.
        device: where the encoder is; the table is always on the CPU.

    Raises:
        ValueError: there is no picture, or the augmentation redraws a factor the dataset knows.
    """
    index = torch.arange(len(dataset)) if index is None else index
    if not len(index):
        raise ValueError("no pictures to take features of")
    vectors, params, parts = [], [], {}
    with evaluating(encoder), torch.inference_mode():
        for rows in torch.split(index, batch_size):
            batch = dataset.batch(rows).to(device)
            if not known:
                batch = replace(batch, params={picture: Space().neutral(len(rows))})
            view = make_view(batch, augment, picture, draw, seed)
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
    picture: str = "image",
    draw: int = 0,
    seed: int = 0,
) -> View:
    """One evaluation view of a batch; the plain picture without an augmentation."""
    images, known = as_float(batch.pictures[picture]), batch.params[picture]
    if augment is None:
        return View(images, known)
    params = drawn(batch, augment, picture, draw, seed, batch.index)
    return View(augment.apply(images, params), known | params)


def drawn(batch: Batch, augment: Augmentation, picture: str, draw: int, seed: int, owners: Tensor) -> Params:
    """What an augmentation draws for the samples ``owners`` (B,), on the device of the pictures."""
    images = batch.pictures[picture]
    stream = Stream.of(owners.to(images.device), seed, "evaluate", draw)
    return augment.sample(stream, (images.shape[-2], images.shape[-1]))


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
