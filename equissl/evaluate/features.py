"""Extraction of frozen features."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from equissl.augment.base import Augmentation
from equissl.augment.batched import as_float
from equissl.data.base import Dataset
from equissl.data.batch import Batch
from equissl.encoder.modes import channels_last, eval_mode
from equissl.encoder.non_finite import first_not_finite, is_finite
from equissl.errors import UserError, nearest
from equissl.evaluate.base import FeatureTable
from equissl.evaluate.finite import check_finite
from equissl.params import Params, Space, concatenate
from equissl.progress import Progress, no_progress
from equissl.random import Stream
from equissl.text import printable
from equissl.views import View


def extract(
    encoder: nn.Module,
    dataset: Dataset,
    *,
    index: Tensor | None = None,
    augment: Augmentation | None = None,
    image: str = "image",
    dataset_params: bool = True,
    view_index: int = 0,
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    progress: Progress = no_progress,
    model: str = "",
    drop_unreadable: bool = False,
) -> FeatureTable:
    """Features of a dataset in evaluation mode; the encoder is left in the mode it was in.

    Args:
        encoder: an ``Encoder``, or another module from images in [0, 1] to ``Encoded``.
        index: (N,) which samples, in this order; all if absent.
        augment: applied to every image first; its parameters join the factors of the dataset in ``params``.
        dataset_params: False leaves the factors of the dataset out of ``params``.
        view_index: which of several independent views of an image, from 0.
        device: where the encoder is; the table is always on the CPU.
        model: what messages call the encoder.
        drop_unreadable: leave out images that cannot be decoded; ``rows`` of the table are those that can.

    Raises:
        UserError: the samples have no such image; or one cannot be decoded and ``drop_unreadable`` is not
            set, or none can; or batches have features of another width.
        NonFiniteError: features that are not finite.
        ValueError: there is no image, or the augmentation samples a factor that the dataset records.
    """
    index = torch.arange(len(dataset)) if index is None else index
    if image not in dataset.spaces:
        raise UserError(f"image={image!r}: the dataset has none; {nearest(image, dataset.spaces)}")
    if not len(index):
        raise ValueError("no images to take features of")
    vectors: list[Tensor] = []
    params, parts, kept, origin = [], {}, [], ""
    on_cpu = torch.device(device).type == "cpu"
    with eval_mode(encoder), channels_last(encoder) if on_cpu else nullcontext(), torch.inference_mode():
        for rows in torch.split(index, batch_size):
            batch = dataset.batch(rows).readable() if drop_unreadable else whole_batch(dataset, rows)
            if not len(batch.index):
                continue
            kept.append(batch.index)
            batch = batch.to(device)
            if not dataset_params:
                batch = replace(batch, params={image: Space().neutral(len(batch.index))})
            view = make_view(batch, augment, image, view_index, seed)
            encoded = encoder(view.images)
            if vectors and encoded.vector.shape[1] != vectors[0].shape[1]:
                raise UserError(
                    f"{model or 'the encoder'} gives another number of features each time; an encoder gives "
                    "as many of every image"
                )
            vectors.append(encoded.vector.float().cpu())
            if not origin and not is_finite(vectors[-1]):
                origin = first_not_finite(encoder, view.images)
            params.append(view.params.to("cpu"))
            parts = dict(encoded.parts)
            progress("features", sum(map(len, vectors)), len(index))
    if not kept:
        raise UserError(f"none of {len(index)} images can be read; the first: {_reason(dataset)}")
    index = torch.cat(kept)
    # Joined outside inference mode, so that a table may be trained on.
    joined = torch.cat(vectors)
    every = dataset.files
    files = [every[k] for k in index.tolist()] if every else ()
    check_finite(joined, f"the features of {model}" if model else "the features", files, origin)
    return FeatureTable(
        joined,
        dataset.labels[index],
        concatenate(params),
        dataset.groups[index],
        parts,
        index,
    )


def plain_images(dataset: Dataset, index: Tensor, image: str, device: torch.device | str) -> Tensor:
    """The images ``index`` (B,) as they are, in [0, 1]: (B, C, H, W) on the device."""
    return as_float(whole_batch(dataset, index).images[image].to(device))


def whole_batch(dataset: Dataset, index: Tensor, augment: Augmentation | None = None) -> Batch:
    """The samples ``index`` (B,), each with its own image.

    Args:
        augment: what is recorded under the names of its factors is left out: what a table calls "hue" is no
            change of hue.

    Raises:
        UserError: one cannot be decoded, although it could before (``Dataset.readable``).
    """
    batch = dataset.batch(index)
    if batch.replaced is not None and bool(batch.replaced.any()):
        raise UserError(
            f"{int(batch.replaced.sum())} images became unreadable or changed while they were evaluated: "
            f"{_reason(dataset)}. Restore them, or start again without them"
        )
    if augment is None:
        return batch
    return replace(batch, params={k: _without(p, augment) for k, p in batch.params.items()})


def _without(params: Params, augment: Augmentation) -> Params:
    return params.select([n for n in params.space.names if n not in augment.space.names])


def _reason(dataset: Dataset) -> str:
    bad = dataset.bad_images[-1:]
    return f"{printable(bad[0].path)} {bad[0].reason}" if bad else "no reason is known"


def make_view(
    batch: Batch,
    augment: Augmentation | None = None,
    image: str = "image",
    view_index: int = 0,
    seed: int = 0,
) -> View:
    """One evaluation view of a batch: the plain images if there is no augmentation."""
    images, recorded = as_float(batch.images[image]), batch.params[image]
    if augment is None:
        return View(images, recorded)
    params = sample_params(batch, augment, image, view_index, seed, batch.index)
    return View(augment.apply(images, params), _without(recorded, augment) | params)


def sample_params(
    batch: Batch, augment: Augmentation, image: str, view_index: int, seed: int, owners: Tensor
) -> Params:
    """Parameters of an augmentation for the samples ``owners`` (B,), on the device of the images."""
    images = batch.images[image]
    stream = Stream.of(owners.to(images.device), seed, "evaluate", view_index)
    return augment.sample(stream, (images.shape[-2], images.shape[-1]))


def applied_rows(augment: Augmentation, params: Params) -> Tensor:
    """Which images an augmentation was applied to, bool (N,)."""
    flags = [params.applied[name] for name in augment.space.names]
    return torch.stack(flags).any(0) if flags else torch.zeros(len(params), dtype=torch.bool)
