"""Laws of an augmentation: its draws belong to images, and its images are a function of the draws."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equissl.augment.base import Augmentation, Pipeline, replay
from equissl.augment.moments import REFERENCE_SIZE
from equissl.params import Binary, Params, Space
from equissl.random import Stream

_COUNT = 12
_DRAWS = 1 << 14


def check_augmentation(augmentation: Augmentation, size: tuple[int, int] = (24, 24)) -> None:
    """Check that ``augmentation`` keeps the laws on images of ``size`` (H, W); a pipeline's steps too.

    Raises:
        AssertionError: naming the law.
    """
    stream = Stream.of(torch.arange(_COUNT), "laws")
    images = stream.uniform("images", 3 * size[0] * size[1]).view(_COUNT, 3, *size)
    draw = augmentation.sample(stream, size)
    _check_draw(augmentation, stream, size, draw)
    _check_apply(augmentation, images, draw)
    _check_neighbours(augmentation, images, draw)
    _check_moments(augmentation)
    if isinstance(augmentation, Pipeline):
        for step in augmentation.steps:
            check_augmentation(step, size)
            size = step.output_size(size)
    else:
        _check_neutral(augmentation, images)


def _check_draw(augmentation: Augmentation, stream: Stream, size: tuple[int, int], draw: Params) -> None:
    assert draw.space == augmentation.space, "a draw has other factors than the augmentation says"
    assert len(draw) == len(stream), "a draw has not one record per image"
    _same_params(augmentation.sample(stream, size), draw, "the same stream gives the same draw")
    rows = torch.tensor([7, 2, 3])
    some = augmentation.sample(stream[rows], size)
    _same_params(some, draw[rows], "an image's draw does not depend on the others")
    neutral = draw.space.neutral(len(draw))
    for name in draw.space.names:
        value, off = draw.values[name], ~draw.applied[name]
        assert value.dtype == torch.float32 and value.isfinite().all(), f"{name} is not finite float32"
        _same(value[off], neutral.values[name][off], f"{name} is neutral where it was not applied")


def _check_apply(augmentation: Augmentation, images: Tensor, draw: Params) -> None:
    before = images.clone()
    view = augmentation.apply(images, draw)
    _same(images, before, "apply leaves its input as it was")
    _same(augmentation.apply(images, draw), view, "apply gives the same images again")
    height, width = augmentation.output_size((images.shape[2], images.shape[3]))
    wanted = (len(images), images.shape[1], height, width)
    assert view.shape == wanted, f"images have shape {tuple(view.shape)}, output_size says {wanted}"
    _same(replay(augmentation, images, dict(draw.values)), view, "a record gives the view again")
    other = Params.of(Space((Binary("another"),)), {"another": torch.ones(len(draw), 1)})
    _same(augmentation.apply(images, draw | other), view, "other augmentations' factors are not read")


def _check_neighbours(augmentation: Augmentation, images: Tensor, draw: Params) -> None:
    view = augmentation.apply(images, draw)
    alone = [augmentation.apply(images[k : k + 1], draw[torch.tensor([k])]) for k in range(len(images))]
    _same(torch.cat(alone), view, "an image alone comes out as it does in a batch")
    for rows in (torch.tensor([5, 1, 4]), torch.arange(_COUNT - 1, 0, -1)):
        part = augmentation.apply(images[rows], draw[rows])
        _same(part, view[rows], "an image comes out the same among other neighbours")


def _check_neutral(augmentation: Augmentation, images: Tensor) -> None:
    size = (images.shape[2], images.shape[3])
    if not len(augmentation.space) or augmentation.output_size(size) != size:
        return
    view = augmentation.apply(images, augmentation.space.neutral(len(images)))
    torch.testing.assert_close(view, images, atol=1e-5, rtol=0, msg="the neutral draw changes nothing")


def _check_moments(augmentation: Augmentation) -> None:
    """Moments are those of many draws, within four standard errors."""
    stream = Stream.of(torch.arange(_DRAWS), "laws of moments")
    draw = augmentation.sample(stream, REFERENCE_SIZE)
    moments = augmentation.moments()
    drawn = {**draw.values, **{f"{n}/applied": a[:, None] for n, a in draw.applied.items()}}
    assert set(moments) == set(drawn), f"moments are of {sorted(moments)}, draws hold {sorted(drawn)}"
    # Moments that are simulated have an error of their own, at most that of these draws.
    deviations = 4 * math.sqrt(2 / _DRAWS)
    for name, value in drawn.items():
        for power, wanted in zip((1, 2), moments[name], strict=True):
            sample = value.double() ** power
            error = (sample.mean(0) - wanted).abs()
            allowed = deviations * sample.std(0) + 1e-6
            assert (error <= allowed).all(), f"moment {power} of {name} is {sample.mean(0)}, not {wanted}"


def _same_params(found: Params, wanted: Params, law: str) -> None:
    for name in wanted.space.names:
        _same(found.values[name], wanted.values[name], f"{law} ({name})")
        _same(found.applied[name], wanted.applied[name], f"{law} (whether {name} was applied)")


def _same(found: Tensor, wanted: Tensor, law: str) -> None:
    assert torch.equal(found, wanted), law
