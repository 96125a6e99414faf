"""Check that an augmentation's randomness lies in its stream and its parameters alone."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.augment.base import Augmentation, Pipeline
from equissl.augment.batched import as_float
from equissl.augment.moments import REFERENCE_SIZE
from equissl.errors import UserError
from equissl.params import Params
from equissl.random import Stream, generators_restored

_SAMPLES = 16
_IMAGES = 4


def check_replay(augmentation: Augmentation, images: Tensor | None = None) -> None:
    """Sample and apply an augmentation several times, with other calls in between, and compare bit for bit.

    What draws from numpy, from a torch generator or from the operating system, or keeps a state between
    calls, gives something else each time: its views cannot be replayed, and a resumed run would differ.
    A run does this before it starts. The global random generators are left as they were.

    Args:
        images: (B, C, H, W), uint8 or float in [0, 1], to try it on; some noise of 64 px by default.

    Raises:
        UserError: naming the step that gives something else.

    >>> from equissl import augment
    >>> augment.check_replay(augment.presets.simclr(32))
    """
    if images is None:
        images = Stream.of(torch.arange(_IMAGES), "replay check").uniform(
            "images", 3 * REFERENCE_SIZE[0] ** 2
        )
        images = images.view(_IMAGES, 3, *REFERENCE_SIZE)
    images = as_float(images[:_IMAGES].cpu())
    with generators_restored():
        _check(augmentation, images, Stream.of(torch.arange(_SAMPLES), "replay check"))


def _check(augmentation: Augmentation, images: Tensor, stream: Stream) -> Tensor:
    """Check an augmentation, or each step of a pipeline; its images, which the next step gets."""
    if isinstance(augmentation, Pipeline):
        for k, step in enumerate(augmentation.steps):
            images = _check(step, images, stream.fork(f"step {k}"))
        return images
    size = (images.shape[2], images.shape[3])
    params, other = augmentation.sample(stream, size), augmentation.sample(stream.fork("other"), size)
    if not isinstance(params, Params) or params.space != augmentation.space or len(params) != len(stream):
        raise UserError(
            f"{_short(augmentation)}: sample must return Params of its space, one row per image of the stream"
        )
    if not _same_params(augmentation.sample(stream, size), params):
        raise UserError(
            f"{_short(augmentation)}: sample gives other parameters for the same stream. Draw from the "
            "stream that it gets (stream.uniform, stream.normal, ...), not from numpy, random or torch"
        )
    rows = torch.arange(len(images))
    given = images.clone()
    views = augmentation.apply(given, params[rows])
    _check_views(augmentation, views, images)
    if not torch.equal(given, images):
        raise UserError(f"{_short(augmentation)}: apply changes the images it is given; work on a copy")
    again = [augmentation.apply(images.clone(), params[rows])]
    between = rows[1:] if len(rows) > 1 else rows  # an odd number of images, to meet counters
    augmentation.apply(images[between].clone(), other[between])
    again.append(augmentation.apply(images.clone(), params[rows]))
    if not all(_same(view, views) for view in again):
        raise UserError(
            f"{_short(augmentation)}: apply gives other images for the same images and parameters. Draw in "
            "sample, from its stream, and record what was drawn (for noise: a seed, as GaussianNoise does)"
        )
    alone = augmentation.apply(images[-1:].clone(), params[rows[-1:]])
    if not torch.allclose(alone, views[-1:], rtol=1e-3, atol=1e-3, equal_nan=True):
        raise UserError(
            f"{_short(augmentation)}: an image becomes another view in another batch; apply must treat each "
            "image by itself"
        )
    return views


def _check_views(augmentation: Augmentation, views: object, images: Tensor) -> None:
    count, size = len(images), (images.shape[2], images.shape[3])
    wanted = (count, *augmentation.output_size(size))
    if not isinstance(views, Tensor) or views.dim() != 4 or views.dtype != images.dtype:
        shown = f"{tuple(views.shape)} {views.dtype}" if isinstance(views, Tensor) else type(views).__name__
        raise UserError(
            f"{_short(augmentation)}: apply must return (B, C, h, w) of {images.dtype}, got {shown}"
        )
    if (len(views), *views.shape[2:]) != wanted:
        raise UserError(
            f"{_short(augmentation)}: apply makes {len(views)} views of {tuple(views.shape[2:])} px of "
            f"{count} images, and its output_size says {wanted[1:]}"
        )


def _same_params(a: Params, b: Params) -> bool:
    return all(_same(a.values[n], b.values[n]) and _same(a.applied[n], b.applied[n]) for n in b.space.names)


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.nan_to_num(nan=-1e9), b.nan_to_num(nan=-1e9))


def _short(augmentation: Augmentation) -> str:
    text = repr(augmentation)
    return text if len(text) < 100 else type(augmentation).__name__
